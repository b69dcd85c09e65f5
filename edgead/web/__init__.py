"""An endless web of a line camera: tiles, one seamless map, each defect reported once."""
