"""Throw-away servers for tests and benchmarks: nothing that runs on the machine is used, nothing is left behind."""
