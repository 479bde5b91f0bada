"""Photos: files by name, what they say of themselves, the pixels that boxes were drawn on."""
