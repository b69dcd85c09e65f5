"""Inspect images with a compiled bundle, on the device. Needs numpy, OpenCV and one engine; no training library."""
