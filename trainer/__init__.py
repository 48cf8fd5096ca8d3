"""Telemetry lake to features to power and profit models to an ONNX bundle."""
