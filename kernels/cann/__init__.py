"""Ascend faces: calls of MindSpore's CANN-backed operators, each with its contract."""
