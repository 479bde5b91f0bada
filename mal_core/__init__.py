"""Mask Auto-Labeler: boxes in, masks out. A plain library; knows no orchestrator."""
