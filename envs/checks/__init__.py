"""Checks that an environment is valid for training."""
