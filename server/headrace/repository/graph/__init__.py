"""ONNX graphs: read once, walked everywhere, checked before anything runs them."""
