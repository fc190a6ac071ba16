"""A worker: claims runs for its free slots, executes them, and records how they ended."""
