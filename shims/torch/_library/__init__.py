"""torch._library: PyTorch's dispatcher, of which code asks only whether an object is opaque to it."""
