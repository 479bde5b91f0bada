"""The networks of phase 1, their files, and the weights of others."""
