"""Heads of mmdet's families that learn crowded images in a short training."""
