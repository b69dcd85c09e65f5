"""The demo: synthetic products, each trained, compiled, evaluated and timed within a few minutes."""
