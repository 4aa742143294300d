"""Overseers, feedback, treatments and the registry of oversight methods."""
