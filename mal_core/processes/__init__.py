"""Child processes, ranks and machines that work together, and the progress they tell."""
