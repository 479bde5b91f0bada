"""Against human masks: matching, AP, label quality, intervals, retention."""
