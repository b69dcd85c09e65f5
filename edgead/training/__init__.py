"""Training: a folder of good images becomes a run folder with weights, threshold and split."""
