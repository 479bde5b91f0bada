"""Child processes, ranks and machines that work together, the progress they tell, what they share.

What they share are files and records that another process finds whole or not at all, and locks.
"""
