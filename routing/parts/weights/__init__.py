"""Weights: (Rollout) -> (T, N), which multiply the loss of each sample; 0 filters it out."""
