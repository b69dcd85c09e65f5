"""Features of a backbone: which channels, in what scale, and the memory bank of good ones."""
