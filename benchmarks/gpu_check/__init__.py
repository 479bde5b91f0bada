"""What this project does on a GPU, measured by one command; `__main__` says how."""
