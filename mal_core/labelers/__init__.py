"""Who draws masks: labelers as Python calls them, and the recipes they are trained by."""
