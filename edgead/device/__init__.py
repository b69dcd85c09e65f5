"""The device at hand: what it is, what it lacks, and what it does during a run."""
