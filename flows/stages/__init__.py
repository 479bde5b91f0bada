"""The stages: what decides each one's output, what it needs, what it makes visible."""
