"""World models in files that run elsewhere: ONNX, or programs of torch.export."""
