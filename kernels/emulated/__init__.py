"""CANN's documented semantics on the CPU, for exactly the operators that the cann faces call."""
