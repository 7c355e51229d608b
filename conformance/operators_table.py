"""Tolerances and known differences of the operator checks: the one table, each row with its reason.

`TOLERANCES`     name pattern -> (rtol, atol) by dtype, where an operator needs another one than DEFAULT
`NO_VALUES`      results that have no defined values
`KNOWN`          differences to PyTorch that stay, for now or for good; a row that nothing uses is reported
"""

import dataclasses
import fnmatch

DEFAULT = {
    "float32": (2e-5, 1e-5),
    "complex64": (2e-5, 1e-5),
    "gradient": (2e-4, 2e-5),
    # Half precision: PyTorch rounds once per operator; a composition rounds at each step.
    "float16": (4e-3, 4e-3),
    "bfloat16": (3e-2, 3e-2),
    "int64": (0.0, 0.0),
    "bool": (0.0, 0.0),
}
"""(rtol, atol) by dtype; int64 and bool operators with floating results use float32's."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Other tolerances for operators whose name matches `names` (patterns, separated by spaces)."""

    names: str
    dtypes: str
    rtol: float
    atol: float
    reason: str


@dataclasses.dataclass(frozen=True)
class Known:
    """A difference that is known: operators, checks and texts by pattern ("*" any), and why it stays.

    Checks are the dtypes, "not_contiguous", "recorded", "recorded_not_contiguous", "gradient",
    "gradient_not_contiguous" and "errors".
    """

    names: str
    checks: str
    text: str
    reason: str


TOLERANCES: tuple[Tolerance, ...] = (
    Tolerance(
        "*matmul* *conv* *addmm* *addbmm* *baddbmm bmm Tensor.bmm mm Tensor.mm *linear *einsum *tensordot *attention* "
        "*cdist *__matmul__ *__rmatmul__",
        "float32",
        2e-5,
        1e-4,
        "Sums of up to 100 products of up to 81 each, in another order than PyTorch's: rounding is 1e-4 at worst.",
    ),
    Tolerance(
        "nn.functional.multi_head_attention_forward",
        "float16",
        0.06,
        0.5,
        "Ten operators in a row on numbers up to 9, each rounded to half precision by both sides, sums up to 80.",
    ),
    Tolerance(
        "*svd* *qr *pinv *eigh* linalg.* Tensor.svd Tensor.cholesky Tensor.det inverse",
        "gradient",
        2e-3,
        1e-3,
        "Gradients of decompositions divide by differences of singular or eigenvalues.",
    ),
)

NO_VALUES = "empty empty_like empty_strided Tensor.new_empty Tensor.new_empty_strided Tensor.resize_ Tensor.new"
"""Uninitialised memory: only shapes and dtypes are compared."""

TIES = "topk sort argsort kthvalue median nanmedian mode msort Tensor.topk Tensor.sort Tensor.argsort Tensor.median"
"""Order among equal elements is not defined: indices are compared by the elements that they point to."""

KNOWN: tuple[Known, ...] = (
    Known(
        "Tensor.*",
        "errors",
        "*unexpected keyword argument 'out'*",
        "Methods accept `out=` as functions do; nothing in upstream passes it to a method.",
    ),
    Known(
        "gather multinomial complex amax amin take index_select masked_select polar Tensor.multinomial",
        "errors",
        "*out*",
        "`out=` may have any dtype and shape that the result can be converted to; PyTorch wants the result's own here.",
    ),
    Known(
        "normal Tensor.normal_ bernoulli Tensor.bernoulli_ Tensor.uniform_ Tensor.exponential_",
        "gradient*",
        "requires_grad is False, not True",
        "Random numbers: PyTorch records a gradient that is zero; here the result is not recorded.",
    ),
    Known(
        "normal Tensor.normal_ Tensor.uniform_ Tensor.exponential_ Tensor.random_",
        "*not_contiguous",
        "values*",
        "Filling memory with gaps: PyTorch draws the same stream in another order.",
    ),
    Known(
        "nn.functional.pad constant_pad_nd",
        "gradient*",
        "requires_grad is False, not True",
        "Padding of nothing: the padding is not recorded, whose gradient would be without elements.",
    ),
    Known(
        "nn.functional.multi_head_attention_forward",
        "bfloat16",
        "values*",
        "Ten operators in a row on numbers up to 9, each rounded to eight bits by both sides; the sums cancel.",
    ),
    Known(
        "complex view_as_complex polar",
        "float16",
        "*ComplexHalf*",
        "MindSpore has no complex numbers of half precision.",
    ),
)


def matches(patterns: str, *names: str) -> bool:
    """Whether one of `names` matches one of the patterns, which are separated by spaces."""
    return any(fnmatch.fnmatchcase(n, p) for p in patterns.split() for n in names)


def tolerance(name: str, dtype: str) -> tuple[float, float]:
    """(rtol, atol) for an operator's results of a dtype, or for its "gradient"."""
    for row in TOLERANCES:
        if matches(row.names, name) and matches(row.dtypes, dtype):
            return row.rtol, row.atol
    rtol, atol = DEFAULT[dtype]
    return (rtol, atol) if rtol else DEFAULT["float32"]


def has_values(name: str, entry: str) -> bool:
    """Whether the operator's results have defined values."""
    return not matches(NO_VALUES, name, entry)


def tied(name: str) -> bool:
    """Whether the operator's indices may point to any of equal elements."""
    return matches(TIES, name)


def known(name: str, entry: str, check: str, text: str) -> Known | None:
    """The row of KNOWN that explains a difference; None when it is new."""
    for row in KNOWN:
        asked = matches(row.names, name, entry) and matches(row.checks, check.replace(",", "").replace(" ", "_"))
        if asked and fnmatch.fnmatchcase(text, row.text):
            return row
    return None
