"""Timing, comparison and drawing of benchmarks; the subjects are the modules beside this package."""
