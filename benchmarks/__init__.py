"""Measure Mainspring, the limit of its database and its peers side by side: ``python -m benchmarks --help``."""
