"""Learning algorithms: PPO and REINFORCE with sample weights and gradient masks, their rollout buffers and losses."""
