"""What every source of kind `rest` must do, tried against a server of this machine. `heal` and the tests run it."""
