"""From what a network finds in an image to its map and score: one scoring for every family."""
