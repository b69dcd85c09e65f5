"""The library's face: what `edgead.train`, `edgead.compile` and `edgead.evaluate` are."""
