"""How gradients are scaled."""
