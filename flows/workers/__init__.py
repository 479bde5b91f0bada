"""Who does the work: children side by side, GPUs, shards, Dask and Ray."""
