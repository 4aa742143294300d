"""What the tool costs, always as a multiple of something else measured in turn with it: `python -m benchmarks`."""
