"""How good a mask is, without a human mask to compare it with."""
