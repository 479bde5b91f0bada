"""What crosses the border of a process: training, labeling and segmenting as children."""
