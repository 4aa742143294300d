"""The learner: Stable-Baselines3, with treatments of samples and policies made of blocks."""
