"""Complex tensors on the CPU: MindSpore records no arithmetic on them, so each operator is a node of its own here.

The views `view_as_real`, `view_as_complex`, `real` and `imag` stand with the others, in `shape`; `complex`, `polar`,
`conj` and `angle` with the Fourier transforms, in `spectral`.

The gradient of a real loss by a complex z is dL/dRe z + i dL/dIm z, PyTorch's convention: the product a * b then passes
g * conj(b) back to a, and a real tensor that was made complex receives the real part.

Complex matrix products with gradients run in PyTorch.
"""

from collections.abc import Callable

from .._ms import MsFunction
from ._common import Any, from_numpy, memory, np, op, records, wrap


class _Node(MsFunction):
    """`forward` on numpy arrays; `slopes(grad, *arrays)` gives one gradient array (or None) for each."""

    @staticmethod
    def forward(ctx: Any, fn: Callable, slopes: Callable, *tensors: Any) -> Any:
        ctx.slopes, ctx.arrays = slopes, [memory(t) for t in tensors]
        return from_numpy(np.ascontiguousarray(fn(*ctx.arrays)))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        found = ctx.slopes(memory(grad), *ctx.arrays)
        fitted = (None if g is None else from_numpy(fit(g, a)) for g, a in zip(found, ctx.arrays, strict=True))
        return None, None, *fitted


def fit(grad: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Sum a gradient over what was broadcast, and drop the imaginary part if `like` is real."""
    if grad.shape != like.shape:
        grad = grad.sum(axis=tuple(range(grad.ndim - like.ndim)))
        widened = tuple(i for i, (g, n) in enumerate(zip(grad.shape, like.shape, strict=True)) if n == 1 and g != 1)
        grad = grad.sum(axis=widened, keepdims=True)
    if like.dtype.kind != "c":
        grad = grad.real
    return np.ascontiguousarray(grad.astype(like.dtype, copy=False))


def _run(fn: Callable, slopes: Callable, *tensors: Any) -> Any:
    if records(*tensors):
        return wrap(_Node.apply(fn, slopes, *tensors))
    return wrap(from_numpy(np.ascontiguousarray(fn(*(memory(t) for t in tensors)))))


_SLOPES: dict[Callable, Callable] = {
    np.add: lambda g, a, b: (g, g),
    np.subtract: lambda g, a, b: (g, -g),
    np.multiply: lambda g, a, b: (g * np.conj(b), g * np.conj(a)),
    np.true_divide: lambda g, a, b: (g / np.conj(b), -g * np.conj(a / b) / np.conj(b)),
}


def binary(np_fn: Callable, a: Any, b: Any) -> Any:
    """a + b, a - b, a * b or a / b of two complex tensors with gradients; None for another function."""
    slopes = _SLOPES.get(np_fn)
    return None if slopes is None else _run(np_fn, slopes, a, b)


def convert(x: Any, dtype: Any) -> Any:
    """Between real and complex dtypes, with gradients; the imaginary part is dropped, as in PyTorch."""

    def fn(a: np.ndarray) -> np.ndarray:
        return (a if np.dtype(dtype.np).kind == "c" else a.real).astype(dtype.np)

    return _run(fn, lambda g, a: (g,), x)


for _name in ("resolve_conj", "resolve_neg"):  # nothing here is conjugated or negated lazily
    op(_name)(lambda input: input)


def magnitude(input: Any) -> Any:
    """|z|, whose gradient at 0 is 0."""

    def slopes(g: np.ndarray, a: np.ndarray) -> tuple:
        size = np.abs(a)
        return (g * np.divide(a, size, out=np.zeros_like(a), where=size != 0),)

    return _run(np.abs, slopes, input)
