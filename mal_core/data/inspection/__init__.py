"""What is wrong with a dataset or unusual in it, by kind, and how it can be put right."""
