"""Annotation files and photos in, crops and labeled files out."""
