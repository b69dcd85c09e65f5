"""Accuracy on labelled images: of one model, and of many models on many data sets."""
