"""From a trained model to one file for a device: ONNX, INT8, the accuracy gate, reference answers."""
