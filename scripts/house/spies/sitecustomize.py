"""Loaded by every Python process of a command under observation, before its own code.

HOUSE_SPY names what is watched ("settings" or "box"), HOUSE_NOTES the folder to note it in,
HOUSE_ROOT the tree whose code is watched, HOUSE_PACKAGES those of its folders that are.
"""

import os

if os.environ.get("HOUSE_SPY") == "settings":
    import opened

    opened.watch()
if os.environ.get("HOUSE_SPY") == "box":
    import held

    held.watch()
