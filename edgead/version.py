"""The version of edgead, the one place where it stands; a file of its own, that every package may import."""

__version__ = "0.2.0"
