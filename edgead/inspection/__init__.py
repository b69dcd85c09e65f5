"""Inspection of cameras and files with a bundle: every frame gets a verdict."""
