"""Matrix products and attention."""

import math
from typing import Any

import torch as real

from hf_ascend import kernels

from .. import _dtypes, _nodes
from .._fallback import compute, from_real
from .._inplace import to_shared
from .._ms import ON_CPU, TensorPy, gen, grad_enabled, jit_state, mint, pyboost_matmul, raw_requires_grad
from .._nodes import large
from ._common import (
    cast,
    host,
    host_pair,
    ms,
    np,
    op,
    ops,
    raw_dtype,
    raw_shape,
    records,
    wrap,
    zeros,
)

_FLOAT32 = ms.float32
_matmul_nt = ops.MatMul(transpose_b=True)
_matmul_nn = ops.MatMul()


def _mm(a: Any, b: Any) -> Any:
    """The product of two matrices; outside graphs without the primitive's own questions."""
    return pyboost_matmul(_matmul_nn, [a, b, False, False]) if jit_state._jit_context is None else _matmul_nn(a, b)


def _mm_nt(a: Any, b: Any) -> Any:
    return pyboost_matmul(_matmul_nt, [a, b, False, True]) if jit_state._jit_context is None else _matmul_nt(a, b)


_bmm_nn = ops.BatchMatMul()
_bmm_nt = ops.BatchMatMul(transpose_b=True)


def _check_same(a: Any, b: Any) -> None:
    if raw_dtype(a) is not raw_dtype(b):
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}")


def _through_float(fn: Any, *tensors: Any) -> Any:
    """The CPU multiplies no bfloat16 and no integers: compute in a type it has, and go back."""
    dtype = _dtypes.BY_MS[raw_dtype(tensors[0])]
    if dtype.is_complex:
        raise NotImplementedError("products of complex matrices")
    wide = _dtypes.float32 if dtype.is_floating_point else _dtypes.float64
    return cast(wrap(fn(*(cast(t, wide) for t in tensors))), dtype)


def _native(x: Any) -> bool:
    return not ON_CPU or x.dtype in (_dtypes.float32, _dtypes.float64)


def _blas(product: Any, *tensors: Any) -> Any:
    """A product by PyTorch's BLAS on the tensors' own memory, where nothing is recorded.

    MindSpore's MatMul takes twice as long for one row, and numpy's BLAS does not know every processor: on one that it
    takes for an old one it is seven times as slow.
    """
    return from_real(product(*[to_shared(t) for t in tensors]))


@op("_C._nn.linear", "nn.functional.linear")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002
    """input @ weight^T + bias, for input (..., in), weight (out, in), bias (out).

    One `MatMul(transpose_b=True)`: MindSpore's own `dense` copies the transposed weight at every call on the CPU.
    """
    _check_same(input, weight)
    shape = raw_shape(input)
    k = raw_shape(weight)[-1]
    if not shape or shape[-1] != k:
        rows = math.prod(shape[:-1])
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{shape[-1] if shape else 0} and {k}x{raw_shape(weight)[0]})"  # noqa: E501
        )
    if len(raw_shape(weight)) == 1:
        return wrap(matmul.impls["any"](input, weight)) + (bias if bias is not None else 0)
    n = raw_shape(weight)[0]
    operands = (input, weight) if bias is None else (input, weight, bias)
    if _native(input) and 0 not in shape and n and host(*operands):
        return _blas(real.nn.functional.linear, *operands)
    if 0 in shape or n == 0:
        y = zeros((*shape[:-1], n), input.dtype, input, weight)
        return y if bias is None else wrap(y) + bias
    if not _native(input):
        out = _through_float(_mm_nt, mint.reshape(input, (-1, k)), weight)
    else:
        out = _mm_nt(input if len(shape) == 2 else mint.reshape(input, (-1, k)), weight)
    if bias is not None:
        out = gen.add_op(out, bias) if ON_CPU else mint.add(out, bias)  # the primitive costs less
    return out if len(shape) == 2 else mint.reshape(out, (*shape[:-1], n))


@op("matmul", "Tensor.__matmul__", "linalg.matmul")
def matmul(input: Any, other: Any) -> Any:  # noqa: A002
    """The matrix product with torch's rules for vectors and batches."""
    if not isinstance(other, TensorPy):
        return NotImplemented
    a, b, kind = raw_shape(input), raw_shape(other), raw_dtype(input)
    if kind is not raw_dtype(other):
        _check_same(input, other)
    # Two matrices first, and by few questions: each costs as much as the rest of the way to MindSpore.
    if len(a) == 2 == len(b) and kind is _FLOAT32 and a[1] == b[0] and jit_state._jit_context is None:
        if grad_enabled() and (raw_requires_grad(input) or raw_requires_grad(other)):
            if a[0] and a[1] and b[1]:
                least = _nodes.LARGE
                if least is not None and (a[0] * a[1] >= least or b[0] * b[1] >= least):
                    return compute(real.matmul, input, other)
                return pyboost_matmul(_matmul_nn, [input, other, False, False])
        elif ON_CPU:
            return _blas(real.matmul, input, other)
    if not a or not b:
        raise RuntimeError("both arguments to matmul need to be at least 1D, but they are 0D")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a))} and {'x'.join(map(str, b))})"
        )
    if len(a) == 1 and len(b) == 1:
        return (input * other).sum()
    if len(a) == 1:
        return wrap(matmul.impls["any"](input.unsqueeze(0), other)).squeeze(-2)
    if len(b) == 1:
        return wrap(matmul.impls["any"](input, other.unsqueeze(1))).squeeze(-1)
    if ON_CPU and records(input, other) and (large(input) or large(other)):
        return compute(real.matmul, input, other)
    if 0 in a or 0 in b:
        return zeros((*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]), input.dtype, input, other)
    if ON_CPU and kind is not ms.float32 and kind is not ms.float64:
        return _through_float(matmul.impls["any"], input, other)
    if host_pair(input, other):
        return _blas(real.matmul, input, other)
    if len(a) == 2 and len(b) == 2:
        return _mm(input, other)
    if len(b) == 2:
        return mint.reshape(_mm(mint.reshape(input, (-1, a[-1])), other), (*a[:-1], b[-1]))
    if a[:-2] != b[:-2]:
        batch = np.broadcast_shapes(tuple(a[:-2]), tuple(b[:-2]))
        input = input.expand(*batch, *a[-2:]).contiguous()  # noqa: A001
        other = other.expand(*batch, *b[-2:]).contiguous()
    return _bmm_nn(input, other)


@op("Tensor.__rmatmul__")
def rmatmul(self: Any, other: Any) -> Any:
    """`other @ self` for another kind of `other`."""
    from .creation import as_tensor

    return matmul.impls["any"](wrap(as_tensor.impls["any"](other)), self)


@op("mm")
def mm(input: Any, mat2: Any) -> Any:  # noqa: A002
    """The product of two matrices."""
    if len(raw_shape(input)) != 2 or len(raw_shape(mat2)) != 2:
        raise RuntimeError("mm: both tensors must be 2-D")
    return matmul.impls["any"](input, mat2)


@op("bmm")
def bmm(input: Any, mat2: Any) -> Any:  # noqa: A002
    """The products of two batches of matrices."""
    if len(raw_shape(input)) != 3 or len(raw_shape(mat2)) != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    return matmul.impls["any"](input, mat2)


@op("mv")
def mv(input: Any, vec: Any) -> Any:  # noqa: A002
    """A matrix times a vector."""
    return matmul.impls["any"](input, vec)


@op("dot", "inner_vectors")
def dot(input: Any, tensor: Any) -> Any:  # noqa: A002
    """The sum of products of two vectors."""
    if len(raw_shape(input)) != 1 or len(raw_shape(tensor)) != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {len(raw_shape(input))}D and {len(raw_shape(tensor))}D tensors"
        )
    if input.dtype is not tensor.dtype:
        raise RuntimeError(f"dot: expected both vectors to have same dtype, but found {input.dtype} and {tensor.dtype}")
    return (input * tensor).sum()


@op("outer", "ger")
def outer(input: Any, vec2: Any) -> Any:  # noqa: A002
    """All products of two vectors' elements."""
    return input.reshape(-1, 1) * vec2.reshape(1, -1)


@op("addmm")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:  # noqa: A002
    """beta * input + alpha * mat1 @ mat2."""
    product = wrap(matmul.impls["any"](mat1, mat2))
    if not input.dtype.is_floating_point and not input.dtype.is_complex:
        alpha, beta = int(alpha), int(beta)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


@op("baddbmm")
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:  # noqa: A002
    """beta * input + alpha * batch1 @ batch2, batched."""
    return addmm.impls["any"](input, batch1, batch2, beta=beta, alpha=alpha)


@op("einsum", "functional.einsum")
def einsum(equation: str, *operands: Any) -> Any:
    """Einstein summation of one or two operands (more are contracted from the left), by transposes and products."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in equation or any(len(set(t)) != len(t) for t in terms) or len(operands) > 2:
        raise NotImplementedError("einsum with ellipsis, diagonals or several operands")
    if not arrow:
        letters = "".join(terms)
        out = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if len(operands) == 1:
        return _einsum_one(terms[0], out, operands[0])
    (a, b), (x, y) = terms, operands
    x, a = _sum_absent(x, a, set(b) | set(out))
    y, b = _sum_absent(y, b, set(a) | set(out))
    size = dict(zip(a, raw_shape(x), strict=True)) | dict(zip(b, raw_shape(y), strict=True))
    batch = [c for c in a if c in b and c in out]
    inner = [c for c in a if c in b and c not in out]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]

    def group(t: Any, term: str, order: list[list[str]]) -> Any:
        flat = [c for part in order for c in part]
        t = t.permute(*(term.index(c) for c in flat)) if flat != list(term) else t
        return t.reshape([math.prod(size[c] for c in part) for part in order])

    product = wrap(matmul.impls["any"](group(x, a, [batch, rows, inner]), group(y, b, [batch, inner, columns])))
    have = batch + rows + columns
    product = product.reshape([size[c] for c in have])
    return product.permute(*(have.index(c) for c in out)) if have != list(out) else product


def _sum_absent(x: Any, term: str, needed: set) -> tuple[Any, str]:
    gone = [i for i, c in enumerate(term) if c not in needed]
    return (x.sum(gone), "".join(c for c in term if c in needed)) if gone else (x, term)


def _einsum_one(term: str, out: str, x: Any) -> Any:
    x, term = _sum_absent(x, term, set(out))
    return x.permute(*(term.index(c) for c in out)) if term != out else x


@op("tensordot")
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Contract dimensions of two tensors: the last n with the first n, or named ones."""
    if isinstance(dims, int):
        da, db = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        da, db = ([d % t.dim() for d in ds] for t, ds in zip((a, b), dims, strict=True))
    ra, rb = [d for d in range(a.dim()) if d not in da], [d for d in range(b.dim()) if d not in db]
    n = math.prod(a.shape[d] for d in da)
    left = a.permute(*ra, *da).reshape(-1, n)
    right = b.permute(*db, *rb).reshape(n, -1)
    return (left @ right).reshape([a.shape[d] for d in ra] + [b.shape[d] for d in rb])


@op("_C._nn.scaled_dot_product_attention", "nn.functional.scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(query @ key^T * scale + mask) @ value, for (..., heads, length, width) tensors, by `kernels.attention`.

    A bool mask keeps where True, a floating one is added; rows masked throughout give zeros.
    With `enable_gqa` the query heads are a multiple of the key heads.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if (
        ON_CPU
        and kernels.mode() != "emulated"  # the Ascend kernel takes half precision as it is
        and query.dtype.is_floating_point
        and query.dtype.itemsize < 4
        and query.dtype is key.dtype is value.dtype
    ):
        wide = [cast(x, _dtypes.float32) for x in (query, key, value)]  # scores and sums in float32, as PyTorch's
        mask = attn_mask if attn_mask is None or attn_mask.dtype is _dtypes.bool else cast(attn_mask, _dtypes.float32)
        y = scaled_dot_product_attention.impls["any"](*wide, mask, dropout_p, is_causal, scale, enable_gqa)
        return cast(wrap(y), query.dtype)
    query, key, value = _aligned(query, key, value, enable_gqa)
    return kernels.attention(
        query, key, value, attn_mask, scale=scale, causal="top_left" if is_causal else "", dropout=dropout_p
    )


def _aligned(query: Any, key: Any, value: Any, grouped: bool) -> tuple:
    """The three with their leading dimensions broadcast together; key heads may stay fewer than query heads."""
    q, k, v = raw_shape(query), raw_shape(key), raw_shape(value)
    if len(q) == len(k) == len(v) and q[:-3] == k[:-3] == v[:-3] and len(q) > 2 and k[-3] == v[-3]:  # noqa: SIM102
        if q[-3] == k[-3] or k[-3] == 1 or (grouped and k[-3] and q[-3] % k[-3] == 0):
            return query, key, value
    if grouped and k[-3] != q[-3]:
        n = q[-3]
        key, value = key.repeat_interleave(n // k[-3], -3), value.repeat_interleave(n // v[-3], -3)
    batch = np.broadcast_shapes(*(tuple(raw_shape(t)[:-2]) for t in (query, key, value)))
    return tuple(t.expand(*batch, *raw_shape(t)[-2:]).contiguous() for t in (query, key, value))


def scores(query: Any, key: Any) -> Any:
    """query @ key^T, by the product that takes its second factor as it lies."""
    a, b = raw_shape(query), raw_shape(key)
    if _native(query) and len(a) == len(b) > 2 and a[:-2] == b[:-2] and 0 not in a and 0 not in b:
        return wrap(_bmm_nt(query, key))
    return query @ key.transpose(-2, -1)


@op("_grouped_mm", "nn.functional.grouped_mm")
def grouped_mm(input: Any, mat2: Any, *, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:  # noqa: A002
    """Rows of `input` (T, K), in groups that end at `offs` (E,), each times its matrix of `mat2` (E, K, N)."""
    if offs is None or len(raw_shape(input)) != 2 or len(raw_shape(mat2)) != 3 or bias is not None:
        raise NotImplementedError("grouped_mm other than rows in groups times a stack of matrices")
    from .shape import cat

    parts, start = [], 0
    for expert, end in enumerate(offs.tolist()):
        if end > start:
            parts.append(wrap(matmul.impls["any"](input[start:end], mat2[expert])))
        start = max(start, end)
    if start < raw_shape(input)[0] or not parts:
        parts.append(input.new_zeros((raw_shape(input)[0] - start, raw_shape(mat2)[-1])))
    return cat.impls["any"](parts, 0)
