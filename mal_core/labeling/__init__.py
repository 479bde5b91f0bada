"""A mask for every box: views of a crop, the network, refinement, the journal of what is done."""
