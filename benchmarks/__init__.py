"""Benchmarks: the cost of the tool as a ratio to a reference measured in turn with it (`python -m benchmarks`)."""
