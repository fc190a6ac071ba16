"""Bring a database to the schema of this release, forward only."""
