"""What is done once to a trained policy before it is deployed; each function returns a new policy."""
