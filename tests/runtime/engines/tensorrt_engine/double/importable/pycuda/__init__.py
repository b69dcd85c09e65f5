"""`import pycuda.driver` in a process of a test: the double."""
