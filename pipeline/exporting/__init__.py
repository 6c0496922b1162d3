"""Trained heads as ONNX, as a torch program and as a folder for a hub, each with a model card."""
