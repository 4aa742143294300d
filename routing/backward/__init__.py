"""Per-example weights on gradients: autograd functions, layers, and the levels that use them."""
