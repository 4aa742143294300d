"""Rewards: (Rollout) -> (T, N), from which returns are computed."""
