"""Beginning and end of a run: servers, interruption, time limits, supervision, logs."""
