"""Environments of third parties with an overseer: `envs.overseen` declares one, with tables where it can have them."""
