"""Data packaged with edgead: device targets and calibration recipes."""
