"""Learning algorithms: PPO and REINFORCE with weights and masks, their rollout buffers and losses."""
