"""Masks: (Rollout) -> (T, N, M), which multiply the gradient of each sample in each block."""
