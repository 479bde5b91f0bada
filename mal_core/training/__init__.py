"""Phase 1 learns: losses, mean field, schedule and the loop around them."""
