"""Hydra configuration; a package so that it travels inside the wheel."""
