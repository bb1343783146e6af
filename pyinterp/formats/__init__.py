"""Model files: ONNX in and out, and Sparing's own container."""
