"""Linear systems on the CPU. Decompositions (svd, qr, eigh, cholesky) run in PyTorch."""

from .._ms import MsFunction
from ._common import Any, from_numpy, memory, np, on_host, op, records, wrap
from .complexes import fit


def _solve(a: np.ndarray, b: np.ndarray, upper: bool, left: bool, unit: bool) -> np.ndarray:
    """x with a x = b (or x a = b), reading only one triangle of `a`, and not its diagonal if it is a unit one."""
    if not left:
        return _solve(a.swapaxes(-1, -2), b.swapaxes(-1, -2), not upper, True, unit).swapaxes(-1, -2)
    a = (np.triu if upper else np.tril)(a)
    if unit:
        i = np.arange(a.shape[-1])
        a[..., i, i] = 1
    return np.linalg.solve(a, b)


class _Triangular(MsFunction):
    @staticmethod
    def forward(ctx: Any, a: Any, b: Any, upper: bool, left: bool, unit: bool) -> Any:
        a, b = memory(a), memory(b)
        x = _solve(a, b, upper, left, unit)
        ctx.kept = a, b, x, upper, left, unit
        return from_numpy(np.ascontiguousarray(x.astype(b.dtype)))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, b, x, upper, left, unit = ctx.kept
        at, xt = np.conj(a.swapaxes(-1, -2)), np.conj(x.swapaxes(-1, -2))
        gb = _solve(at, memory(grad), not upper, left, unit)
        ga = -(gb @ xt if left else xt @ gb)
        ga = np.triu(ga, int(unit)) if upper else np.tril(ga, -int(unit))
        return from_numpy(fit(ga, a)), from_numpy(fit(gb, b)), None, None, None


@op("linalg.solve_triangular")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X with A X = B (or X A = B) for triangular A (..., n, n) and B (..., n, k); the gradient is in both.

    Gradient: Giles, An extended collection of matrix derivative results (2008), section 2.2.3.
    """
    if A.dtype is not B.dtype or A.dim() < 2 or B.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise NotImplementedError("linalg.solve_triangular of these shapes or dtypes")  # PyTorch words the error
    if not on_host(A, B) or 0 in A.shape or 0 in B.shape or not (A.dtype.is_floating_point or A.dtype.is_complex):
        raise NotImplementedError("linalg.solve_triangular on this device")
    if records(A, B):
        return wrap(_Triangular.apply(A, B, upper, left, unitriangular))
    x = _solve(memory(A), memory(B), upper, left, unitriangular)
    return wrap(from_numpy(np.ascontiguousarray(x.astype(B.dtype.np))))
