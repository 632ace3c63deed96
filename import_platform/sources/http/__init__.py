"""The HTTP of every source that asks a server: polite, patient, and silent about secrets."""
