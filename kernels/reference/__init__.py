"""The meaning of each kernel: small, composed of the stand-in's torch operators, differentiable, on any device."""
