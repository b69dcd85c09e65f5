"""Loads and latency: how fast a bundle is on this device, and how sure that figure is."""
