"""Boxes, masks and outlines: every form of them, and what can be computed without any file."""
