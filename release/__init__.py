"""What a release consists of beside the wheel: `make dist`."""
