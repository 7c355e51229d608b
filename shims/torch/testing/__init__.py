"""torch.testing: comparison of tensors."""

from typing import Any

import torch as real

from .._fallback import to_real
from .._tensor import Tensor


def assert_close(actual: Any, expected: Any, **kwargs: Any) -> None:
    """Raise AssertionError with PyTorch's report when values differ."""

    def one(x: Any) -> Any:
        if isinstance(x, Tensor):
            return to_real(x)
        return type(x)(one(v) for v in x) if isinstance(x, (list, tuple)) else x

    real.testing.assert_close(one(actual), one(expected), **kwargs)
