"""The `mal` command, its verbs, and what they print."""
