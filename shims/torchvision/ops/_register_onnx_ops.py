"""torchvision.ops._register_onnx_ops: upstream's registers with PyTorch's exporter to ONNX when it is imported."""


def _register_custom_op() -> None:
    """Nothing: graphs are exported by MindSpore."""
