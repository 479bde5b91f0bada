"""Measurements of speed, side by side with a yardstick; never run as tests."""
