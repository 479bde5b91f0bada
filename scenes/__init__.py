"""The embedded dataset: small drawn scenes with exact masks. Knows nothing of the method."""
