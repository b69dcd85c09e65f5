"""Inspect images with a compiled bundle, on the device: numpy, OpenCV and one engine, no training library."""
