"""What every learning of weights shares: checkpoints, processes, pace, progress."""
