"""Backbones that mmdet lacks, and weights for all of them."""
