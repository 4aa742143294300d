"""Overseer, feedback, treatment and the registry of methods."""
