"""The kernels: contracts, the choice of faces, and CANN's semantics on the Ascend code path, emulated."""

import math
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
import torch as real
from mindspore.graph import jit_context
from mindspore.ops import auto_generate

from hf_ascend import kernels, runtime
from hf_ascend import torch as ht
from hf_ascend.kernels import ContractError, primitives, registry, seams
from hf_ascend.kernels.__main__ import document
from hf_ascend.kernels.cann.contracts import COMPRESSED, CONTRACTS

ROUND = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}
"""Unit roundoff by dtype: tolerances below are multiples of it."""


@pytest.fixture(autouse=True)
def _fresh_counts():
    kernels.reset_report()
    runtime.reset_fallbacks()


@pytest.fixture
def calls(monkeypatch):
    """Every operator call of the cann faces: (name, attributes, args, outputs)."""
    seen: list[tuple[str, dict, tuple, Any]] = []
    call = primitives.call

    def spy(name, attributes, *args):
        out = call(name, attributes, *args)
        seen.append((name, attributes, args, out))
        return out

    for face in ("adamw", "attention", "rms_norm", "rotary"):
        module = __import__(f"hf_ascend.kernels.cann.{face}", fromlist=[face])
        monkeypatch.setattr(module, "call", spy)
    return seen


def array(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def pair(a: np.ndarray, dtype: str = "float32", grad: bool = False) -> tuple[Any, Any]:
    """The same values as our tensor and as PyTorch's, both leaves."""
    ours = ht.from_numpy(a.copy()).to(getattr(ht, dtype)).detach().requires_grad_(grad)
    return ours, real.from_numpy(a.copy()).to(getattr(real, dtype)).requires_grad_(grad)


def as_numpy(t: Any) -> np.ndarray:
    return t.detach().float().numpy()


def assert_close(ours: Any, theirs: Any, dtype: str, roundings: float) -> None:
    """Differs by at most so many roundings in `dtype` of the largest value; NaN fails."""
    got, want = as_numpy(ours), as_numpy(theirs)
    assert got.shape == want.shape
    worst, limit = np.abs(got - want).max(), roundings * ROUND[dtype] * np.abs(want).max()
    assert worst <= limit, f"differs by {worst:.3g}, allowed {limit:.3g}"


# ---- the registry


def test_default_on_the_cpu_is_exact_float32():
    assert kernels.mode() == "auto"
    q, tq = pair(array(0, 2, 4, 5, 16))
    k, tk = pair(array(1, 2, 2, 7, 16))
    out = ht.nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    assert_close(out, real.nn.functional.scaled_dot_product_attention(tq, tk, tk, enable_gqa=True), "float32", 16)
    assert "cann" not in kernels.report()["attention"]["calls"]


def test_use_switches_and_restores_also_after_an_error():
    def fail():
        with kernels.use("emulated"):
            assert kernels.mode() == "emulated"
            assert kernels.rms_norm.active.name == "cann"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kernels.mode() == "auto"
    assert kernels.rms_norm.active.name != "cann"


def test_unknown_modes_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="expected one of auto"), kernels.use("fast"):
        pass
    monkeypatch.setenv("HF_ASCEND_KERNELS", "fast")
    with pytest.raises(ValueError, match="HF_ASCEND_KERNELS='fast'"):
        registry._mode_from_environment()


def test_what_a_contract_rules_out_runs_on_the_reference_and_is_listed():
    q = ht.from_numpy(array(0, 1, 2, 3, 16))
    with kernels.use("emulated"):
        kernels.attention(q, q, q, dropout=0.5)
        kernels.attention(q, q, q)
        report = kernels.report()["attention"]
    assert report["calls"] == {"reference": 1, "cann": 1}
    assert report["fallbacks"] == {"cann: dropout=0.5 is not among (0.0,)": 1}


def test_a_tensor_passed_by_keyword_is_never_unchecked():
    q = ht.from_numpy(array(0, 1, 2, 3, 16))
    with kernels.use("emulated"):
        kernels.attention(q, q, q, mask=ht.ones((3, 3), dtype=ht.bool))
        report = kernels.report()["attention"]
    assert report["fallbacks"] == {"cann: mask is to be passed by position": 1}


def test_the_list_of_reasons_is_bounded():
    with kernels.use("emulated"):
        for n in range(registry._MOST_REASONS + 5):
            kernels.attention.instead(lambda: None, *(ht.zeros((1, n + 1, 4)),) * 3)
        found = kernels.report()["attention"]["fallbacks"]
    assert len(found) == registry._MOST_REASONS + 1
    assert found["cann: other reasons"] == 5


# ---- contracts


def half(*shape: int) -> Any:
    return ht.zeros(shape, dtype=ht.float16)


def mask(*shape: int) -> Any:
    return ht.zeros(shape, dtype=ht.uint8)


QKV = (half(2, 4, 5, 16), half(2, 2, 7, 16), half(2, 2, 7, 16))
FA = "FlashAttentionScore"
FLASH = {"head_num": 4, "input_layout": "BNSD", "sparse_mode": 0}
OUTSIDE = {
    "float32 query": (FA, FLASH, (ht.zeros((2, 4, 5, 16)), *QKV[1:]), "query is float32"),
    "mixed dtypes": (FA, FLASH, (*QKV[:2], QKV[2].to(ht.bfloat16)), "dtypes differ"),
    "width not aligned": (FA, FLASH, tuple(t[..., :10] for t in QKV), "size D is 10"),
    "heads not grouped": (FA, FLASH, (half(2, 3, 5, 16), *QKV[1:]), "no multiple of N2"),
    "batches differ": (FA, FLASH, (half(3, 4, 5, 16), *QKV[1:]), "key has shape"),
    "floating mask": (FA, FLASH, (*QKV, None, None, None, half(2, 1, 5, 7)), "takes bool or uint8"),
    "mask of other size": (FA, FLASH, (*QKV, None, None, None, mask(2, 1, 7, 5)), "attn_mask has shape"),
    "compressed mask, full mode": (FA, FLASH, (*QKV, None, None, None, mask(2048, 2048)), "full mask"),
    "full mask, compressed mode": (
        FA, {**FLASH, "sparse_mode": 2}, (*QKV, None, None, None, mask(5, 7)), "sparse_mode 2 takes",
    ),
    "no mask, compressed mode": (FA, {**FLASH, "sparse_mode": 3}, QKV, "sparse_mode 3 takes"),
    "dropout mask": (FA, FLASH, (*QKV, None, mask(2, 4, 5, 1)), "drop_mask has shape"),
    "several rows decoded": ("FusedInferAttentionScore", {"input_layout": "BNSD"}, QKV, "query has shape"),
    "gamma of other width": ("RmsNorm", {"epsilon": 1e-6}, (half(2, 8), half(4)), "gamma has shape"),
    "epsilon of zero": ("RmsNorm", {"epsilon": 0.0}, (half(2, 8), half(8)), "epsilon is 0.0"),
    "interleaved with batch": (
        "RotaryPositionEmbedding", {"mode": 1}, (half(2, 3, 5, 8), half(2, 1, 5, 8), half(2, 1, 5, 8)), "mode 1 takes",
    ),
    "odd width": ("RotaryPositionEmbedding", {"mode": 0}, (half(2, 3, 5, 7), *(half(1, 1, 5, 7),) * 2), "size D is 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTSIDE)
def test_operators_are_not_called_outside_their_contract(case):
    name, attributes, args, message = OUTSIDE[case]
    with kernels.use("emulated"), pytest.raises(ContractError, match=message) as caught:
        primitives.call(name, attributes, *args)
    assert name in str(caught.value)


def test_the_documented_contracts_are_the_ones_in_force():
    page = (Path(__file__).parent.parent / "docs" / "KERNELS.md").read_text()
    assert document().strip() in page, "run python -m hf_ascend.kernels and put its output into docs/KERNELS.md"


def test_decoding_has_no_gradient_and_its_contract_says_so():
    q = half(1, 2, 1, 16).requires_grad_(True)
    with kernels.use("emulated"), pytest.raises(ContractError, match="gradients are recorded"):
        primitives.call("FusedInferAttentionScore", {"num_heads": 2, "input_layout": "BNSD"}, q, [q], [q])


# ---- what the faces pass to the operators


def test_masks_reach_the_operator_with_one_for_masked_out(calls):
    q = ht.from_numpy(array(0, 2, 2, 3, 16))
    keep = np.array([[[[1, 0, 1]]], [[[1, 1, 0]]]], bool)
    with kernels.use("emulated"):
        kernels.attention(q, q, q, ht.from_numpy(keep))
    (name, attributes, args, _), passed = calls[0], calls[0][2][6]
    assert (name, attributes["sparse_mode"], args[0].dtype) == (FA, 0, ht.float16)
    assert passed.dtype is ht.uint8
    assert np.array_equal(passed.numpy(), np.broadcast_to(1 - keep, (2, 1, 3, 3)))


@pytest.mark.parametrize(("causal", "sparse_mode"), [("top_left", 2), ("bottom_right", 3)])
def test_plain_causal_attention_passes_the_compressed_mask(calls, causal, sparse_mode):
    q, k = ht.from_numpy(array(0, 1, 2, 3, 16)), ht.from_numpy(array(1, 1, 2, 5, 16))
    with kernels.use("emulated"):
        kernels.attention(q, k, k, causal=causal)
    _, attributes, args, _ = calls[0]
    assert attributes["sparse_mode"] == sparse_mode
    assert np.array_equal(args[6].numpy(), np.triu(np.ones((COMPRESSED, COMPRESSED), np.uint8), 1))


def test_float32_becomes_float16_without_gradients_and_bfloat16_with_them(calls):
    q = ht.from_numpy(array(0, 1, 2, 3, 16))
    with kernels.use("emulated"):
        assert kernels.attention(q, q, q).dtype is ht.float32
        assert kernels.attention(q.requires_grad_(True), q, q).dtype is ht.float32
    assert [c[2][0].dtype for c in calls] == [ht.float16, ht.bfloat16]


def test_one_row_without_gradients_takes_the_decoding_operator(calls):
    q, k = ht.from_numpy(array(0, 2, 4, 1, 16)), ht.from_numpy(array(1, 2, 2, 9, 16))
    with kernels.use("emulated"):
        kernels.attention(q, k, k, ht.ones((2, 1, 1, 9), dtype=ht.bool))
        kernels.attention(q, k, k, causal="top_left")
        kernels.attention(q.detach().requires_grad_(True), k, k)
    assert [c[0] for c in calls] == ["FusedInferAttentionScore", "FlashAttentionScore", "FlashAttentionScore"]
    assert calls[0][1]["num_key_value_heads"] == 2
    assert tuple(calls[0][2][4].shape) == (2, 1, 1, 9)


def test_narrow_heads_and_values_are_padded_to_sixteen(calls):
    q, k, v = (ht.from_numpy(array(i, 1, 2, 3, d)) for i, d in enumerate((24, 24, 20)))
    with kernels.use("emulated"):
        out = kernels.attention(q, k, v)
    assert [t.shape[-1] for t in calls[0][2][:3]] == [32, 32, 32]
    assert tuple(out.shape) == (1, 2, 3, 20)
    assert calls[0][1]["scale_value"] == pytest.approx(1 / math.sqrt(24))


@pytest.mark.parametrize("style", ["half", "pairs"])
@pytest.mark.parametrize("rows", [1, 40])
def test_rotary_keeps_out_of_the_operators_slow_and_forbidden_shapes(calls, style, rows):
    q, k = ht.from_numpy(array(0, 2, 4, rows, 16)), ht.from_numpy(array(1, 2, 2, rows, 16))
    c = ht.from_numpy(array(2, 2, 1, rows, 16))
    with kernels.use("emulated"):
        kernels.rotary(q, k, c, c, style=style)
    for _, attributes, (x, cos, _), _ in calls:
        b, n, s, _ = x.shape
        assert b * n <= 8 * s
        assert attributes["mode"] == 0 or cos.shape[0] == 1


# ---- CANN's semantics, against PyTorch


def run_sdpa(lib: Any, tensors: list[Any], mask: np.ndarray | None, grad: bool, **options: Any) -> list[Any]:
    keep = None if mask is None else lib.from_numpy(mask.copy())
    with lib.enable_grad() if grad else lib.no_grad():
        out = lib.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=keep, enable_gqa=True, **options)
        if grad:
            (out.float() * lib.from_numpy(array(9, *out.shape))).sum().backward()
    return [out, *(t.grad for t in tensors)] if grad else [out]


def keep_mask() -> np.ndarray:
    keep = np.ones((2, 1, 5, 7), bool)
    keep[0, :, :, 5:] = False
    keep[1, :, 0, :3] = False
    return keep


def bias_mask() -> np.ndarray:
    return np.where(keep_mask(), array(8, 2, 4, 5, 7), np.finfo(np.float32).min).astype(np.float32)


ATTENTION = {
    "full": ((5, 7, 16, 16), None, {}),
    "causal": ((5, 5, 24, 24), None, {"is_causal": True}),
    "causal over more keys": ((5, 7, 24, 20), None, {"is_causal": True}),
    "mask": ((5, 7, 16, 8), keep_mask(), {}),
    "additive mask": ((5, 7, 16, 16), bias_mask(), {"scale": 0.5}),
    "one row": ((1, 7, 16, 16), keep_mask()[:, :, 1:2], {}),
    "mask of one row for all": ((5, 7, 16, 16), keep_mask()[:, :, 1:2], {}),
}


@pytest.mark.parametrize("grad", [False, True], ids=["forward", "gradients"])
@pytest.mark.parametrize("case", ATTENTION)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_attention_on_the_ascend_path_is_pytorchs(case, dtype, grad):
    (rows, columns, width, out_width), keep, options = ATTENTION[case]
    shapes = ((2, 4, rows, width), (2, 2, columns, width), (2, 2, columns, out_width))
    pairs = [pair(array(i, *s), dtype, grad) for i, s in enumerate(shapes)]
    with kernels.use("emulated"):
        ours = run_sdpa(ht, [p[0] for p in pairs], keep, grad, **options)
        assert kernels.report()["attention"]["calls"] == {"cann": 1}
    # PyTorch sees the same rounded inputs, in float32.
    theirs = [p[1].detach().float().requires_grad_(grad) for p in pairs]
    expected = run_sdpa(real, theirs, keep, grad, **options)
    narrow = {"float32": "bfloat16" if grad else "float16"}.get(dtype, dtype)
    for got, want in zip(ours, expected, strict=True):
        # Inputs, weights and result are each rounded once forward; their products backward, too.
        assert_close(got, want, narrow, 8 if grad else 4)
        assert got.dtype is getattr(ht, dtype)
    assert not [name for name in runtime.fallbacks() if "attention" in name]  # an error there would hide in PyTorch


@pytest.mark.parametrize("mode", ["reference", "emulated"])
@pytest.mark.parametrize("causal", ["top_left", "bottom_right"])
@pytest.mark.parametrize(("rows", "columns"), [(3, 7), (5, 5), (7, 3)])
def test_causal_alignment(mode, causal, rows, columns):
    (q, tq), (k, tk) = pair(array(0, 2, 4, rows, 16)), pair(array(1, 2, 2, columns, 16))
    keep = np.tril(np.ones((rows, columns), bool), 0 if causal == "top_left" else columns - rows)
    with kernels.use(mode):
        out = kernels.attention(q, k, k, causal=causal)
        fallbacks = kernels.report()["attention"]["fallbacks"]
    want = real.nn.functional.scaled_dot_product_attention(tq, tk, tk, real.from_numpy(keep), enable_gqa=True)
    assert_close(out, want, "float16" if mode == "emulated" else "float32", 4 if mode == "emulated" else 16)
    refused = mode == "emulated" and causal == "bottom_right" and rows > columns
    assert list(fallbacks) == (["cann: bottom_right with more rows than columns"] if refused else [])


def test_rows_without_keys_give_zeros_and_no_gradient():
    keep = keep_mask()
    keep[1, :, 2] = False
    for dtype, hide in (("bool", keep), ("float32", np.where(keep, 0, -np.inf).astype(np.float32))):
        tensors = [ht.from_numpy(array(i, *t.shape)).requires_grad_(True) for i, t in enumerate(QKV)]
        with kernels.use("emulated"):
            out, dq, dk, dv = run_sdpa(ht, tensors, hide, grad=True)
        assert all(np.isfinite(as_numpy(t)).all() for t in (out, dq, dk, dv)), dtype
        assert np.abs(as_numpy(out)[1, :, 2]).max() == np.abs(as_numpy(dq)[1, :, 2]).max() == 0
        assert np.abs(as_numpy(out)[0, :, 2]).min() > 0


def test_the_emulation_gives_nan_where_cann_promises_nothing():
    with kernels.use("emulated"):
        out = primitives.call(FA, FLASH, *QKV, None, None, None, mask(2, 1, 5, 7) + 1)
    assert np.isnan(as_numpy(out[3])).all()


def test_softmax_statistics_come_first_and_attention_fourth():
    q, k, v = (ht.from_numpy(array(i, *t.shape)).to(ht.float16) for i, t in enumerate(QKV))
    with kernels.use("emulated"):
        top, total, _, out = primitives.call(FA, {**FLASH, "scale_value": 0.5}, q, k, v)
    scores = 0.5 * as_numpy(q).reshape(2, 2, 10, 16) @ as_numpy(k).transpose(0, 1, 3, 2)
    scores = scores.reshape(2, 4, 5, 7)
    np.testing.assert_allclose(top.numpy(), np.repeat(scores.max(-1, keepdims=True), 8, -1), rtol=1e-5)
    np.testing.assert_allclose(total.numpy()[..., 0], np.exp(scores - scores.max(-1, keepdims=True)).sum(-1), rtol=1e-5)
    assert tuple(out.shape) == (2, 4, 5, 16)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rms_norm_on_the_ascend_path_is_pytorchs(dtype):
    (x, tx), (w, tw) = pair(array(0, 2, 3, 32), dtype, True), pair(array(1, 32), dtype, True)
    with kernels.use("emulated"):
        y = kernels.rms_norm(x, w, eps=1e-5)
        (y.float() * ht.from_numpy(array(2, 2, 3, 32))).sum().backward()
        assert kernels.report()["rms_norm"]["calls"] == {"cann": 1}
    a, b = (t.detach().float().requires_grad_(True) for t in (tx, tw))
    z = real.nn.functional.rms_norm(a, (32,), b, 1e-5)
    (z * real.from_numpy(array(2, 2, 3, 32)).to(getattr(real, dtype)).float()).sum().backward()
    for got, want in ((y, z), (x.grad, a.grad), (w.grad, b.grad)):
        assert_close(got, want, dtype, 8 if dtype == "float32" else 1)
        assert got.dtype is getattr(ht, dtype)


def test_torchs_own_rms_norm_is_the_kernel():
    (x, tx), (w, tw) = pair(array(0, 2, 3, 32)), pair(array(1, 32))
    norm = ht.nn.RMSNorm(32, eps=1e-5)
    norm.weight.data.copy_(w)
    with ht.no_grad(), kernels.use("emulated"):
        y = norm(x)
        plain = ht.nn.functional.rms_norm(x, (3, 32))  # two dimensions, no weight: composed
        assert kernels.report()["rms_norm"]["calls"] == {"cann": 1}
    assert_close(y, real.nn.functional.rms_norm(tx, (32,), tw, 1e-5), "float32", 8)
    assert_close(plain, real.nn.functional.rms_norm(tx, (3, 32)), "float32", 8)


def rotated(x: Any, cos: Any, sin: Any, style: str) -> Any:
    """The rotation of each pair of lanes as a complex product, independent of both faces."""
    r = cos.shape[-1]
    a, b = (x[..., : r // 2], x[..., r // 2 : r]) if style == "half" else (x[..., 0:r:2], x[..., 1:r:2])
    c, s = (t[..., : r // 2] if style == "half" else t[..., ::2] for t in (cos, sin))
    re, im = a * c - b * s, b * c + a * s
    out = real.cat((re, im), -1) if style == "half" else real.stack((re, im), -1).flatten(-2)
    return real.cat((out, x[..., r:]), -1)


@pytest.mark.parametrize("mode", ["reference", "emulated"])
@pytest.mark.parametrize("style", ["half", "pairs"])
@pytest.mark.parametrize(("rows", "angles", "batch"), [(40, 16, 2), (40, 8, 1), (1, 16, 2), (1, 8, 1)])
def test_rotary_turns_pairs_of_lanes(mode, style, rows, angles, batch):
    (q, tq), (k, tk) = (pair(array(i, 2, n, rows, 16), grad=True) for i, n in enumerate((4, 2)))
    half_angles = array(3, batch, 1, rows, angles // 2)
    spread = np.concatenate((half_angles,) * 2, -1) if style == "half" else np.repeat(half_angles, 2, -1)
    (cos, tcos), (sin, tsin) = pair(np.cos(spread)), pair(np.sin(spread))
    with kernels.use(mode):
        out = kernels.rotary(q, k, cos, sin, style=style)
        (out[0] * ht.from_numpy(array(5, *q.shape))).sum().backward()
    want = [rotated(t, tcos, tsin, style) for t in (tq, tk)]
    (want[0] * real.from_numpy(array(5, *q.shape))).sum().backward()
    for got, expected in ((out[0], want[0]), (out[1], want[1]), (q.grad, tq.grad)):
        assert_close(got, expected, "float32", 4)


# ---- AdamW
def parameters(library: Any, dtype: str) -> list[Any]:
    shapes = ((3, 4), (5,), (2, 3, 4), ())
    return [
        library.nn.Parameter(library.from_numpy(array(i, *s)[...].reshape(s)).to(getattr(library, dtype)))
        for i, s in enumerate(shapes)
    ]


@pytest.mark.parametrize("mode", ["auto", "reference", "emulated"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("AdamW", {"weight_decay": 0.1}),
        ("AdamW", {"weight_decay": 0.1, "amsgrad": True}),
        ("AdamW", {"maximize": True, "betas": (0.8, 0.95)}),
        ("Adam", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
    ],
)
def test_fused_adamw_steps_as_pytorch_does(mode, dtype, name, settings):
    """The first step tells: an operator that counts one step too many divides by another bias."""
    with kernels.use(mode):
        ours, theirs = parameters(ht, dtype), parameters(real, dtype)
        optimizers = [
            getattr(t.optim, name)(p, lr=1e-2, fused=True, **settings) for t, p in ((ht, ours), (real, theirs))
        ]
        for step in range(3):
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                g = array(10 * step + i, *a.shape)
                a.grad, b.grad = (t.from_numpy(g.reshape(a.shape)).to(p.dtype) for t, p in ((ht, a), (real, b)))
            for optimizer in optimizers:
                optimizer.step()
            for a, b in zip(ours, theirs, strict=True):
                assert_close(a, b, dtype, 2)
    face = {"auto": "cpu", "reference": "reference", "emulated": "cann"}[mode]
    if face == "cann" and name == "Adam" and "weight_decay" in settings:  # which the operator has decoupled only
        face = "reference"
    assert set(kernels.report()["adamw"]["calls"]) == {face}


def test_a_step_that_found_infinity_changes_nothing():
    (p,) = parameters(ht, "float32")[:1]
    before, state = p.detach().clone(), [[ht.zeros(3, 4)], [ht.zeros(3, 4)], [], [ht.tensor(1.0)]]
    options = {
        "lr": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "weight_decay": 0.1,
        "eps": 1e-8,
        "amsgrad": False,
        "maximize": False,
    }  # noqa: E501
    ht._fused_adamw_([p], [ht.ones(3, 4)], *state, **options, found_inf=ht.tensor(1.0))
    assert ht.equal(p, before)
    ht._fused_adamw_([p], [ht.ones(3, 4) * 8], *state, **options, found_inf=ht.tensor(0.0), grad_scale=ht.tensor(8.0))
    assert not ht.equal(p, before)
    assert float(state[0][0].max()) == pytest.approx(0.1)


# ---- the emulation, against MindSpore's own inference


def infer(prim: Any, args: tuple, single: bool) -> list[tuple]:
    """(shape, dtype) of an Ascend operator's outputs by MindSpore's compiler; the operator itself is never run."""
    F = mindspore.ops.functional  # noqa: N806
    if single:

        @mindspore.jit
        def one(*a):
            out = prim(*a)
            return F.shape(out), F.dtype(out)

        return [one(*args)]

    @mindspore.jit
    def several(*a):
        found = ()
        for t in prim(*a):
            found = found + ((F.shape(t), F.dtype(t)),)
        return found

    return list(several(*args))


def plain(x: Any) -> Any:
    """Our tensor as MindSpore's own class, for its compiler."""
    if isinstance(x, (list, tuple)):
        return [plain(t) for t in x]
    return mindspore.Tensor(x.float().numpy()).astype(x.dtype.ms) if isinstance(x, ht.Tensor) else x


def test_emulated_outputs_have_the_shapes_and_dtypes_that_mindspore_infers(calls):
    q, k, v = (ht.from_numpy(array(i, *s)) for i, s in enumerate(((2, 4, 5, 24), (2, 2, 7, 24), (2, 2, 7, 20))))
    with kernels.use("emulated"):
        kernels.attention(q, k, v, ht.from_numpy(keep_mask()))
        kernels.attention(q, k, v, ht.from_numpy(bias_mask()))
        kernels.attention(q, k, v, causal="top_left")
        kernels.attention(q.to(ht.bfloat16), k.to(ht.bfloat16), v.to(ht.bfloat16), causal="bottom_right")
        kernels.attention(q[:, :, :1], k, v, ht.from_numpy(keep_mask()[:, :, 1:2]))
        for dtype in (ht.float32, ht.bfloat16):
            kernels.rms_norm(q.to(dtype), ht.ones(24, dtype=dtype), eps=1e-5)
            for style in ("half", "pairs"):
                angles = ht.ones(2, 1, 5, 8)
                kernels.rotary(q.to(dtype), k[:, :, :5].to(dtype), angles, angles, style=style)
            moments = [[ht.ones(3, 4, dtype=dtype)] for _ in range(4)]
            kernels.adamw(*moments, [], [ht.tensor(1.0)], lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0.1, eps=1e-8)
    assert {c[0] for c in calls} == set(CONTRACTS)
    for name, attributes, args, out in calls:
        contract = CONTRACTS[name]
        prim = getattr(auto_generate, name)(**{k: v for k, v in attributes.items() if k not in contract.trailing})
        trailing = [attributes[k] for k in contract.trailing]
        single = not isinstance(out, tuple)
        got = [(tuple(t.shape), t.dtype.ms) for t in ((out,) if single else out)]
        # What writes to its arguments stays in the compiled graph, where the CPU has no kernel for it.
        written = any("written" in arg.meaning for arg in contract.args.values())
        expected = got if written else infer(prim, (*(plain(a) for a in args), *trailing), single)
        assert got == expected, name
        declared = [o.rpartition(" ")[2] for o in contract.outputs]
        given = dict(zip(contract.args, args, strict=False))
        dtypes = [given[d[1:]].dtype if d.startswith("=") else getattr(ht, d) for d in declared]
        assert dtypes == [t.dtype for t in ((out,) if single else out)], name


def infer_gradients(prim: Any, args: tuple, index: int | None) -> list[tuple]:
    """The shapes of the gradients of an operator's output `index` (None: its only one), by MindSpore's compiler."""
    grad = mindspore.ops.GradOperation(get_all=True)
    F = mindspore.ops.functional  # noqa: N806

    def only(*a):
        return prim(*a)

    def chosen(*a):
        return prim(*a)[index]

    net = only if index is None else chosen

    @mindspore.jit
    def shapes(*a):
        found = ()
        for t in grad(net)(*a):
            found = found + (F.shape(t),)
        return found

    return list(shapes(*args))


def test_operators_called_with_gradients_have_one_in_mindspore():
    x, rows = plain(half(2, 3, 5, 16)), plain(half(1, 1, 5, 16))
    for prim, args, index in (
        (auto_generate.RmsNorm(1e-5), (x, plain(half(16))), 0),
        (auto_generate.FlashAttentionScore(3, input_layout="BNSD"), (x, x, x), 3),
        (auto_generate.RotaryPositionEmbedding(), (x, rows, rows, 1), None),
    ):
        assert infer_gradients(prim, args, index) == [tuple(a.shape) for a in args if hasattr(a, "shape")]
        assert CONTRACTS[prim.name].differentiable


# ---- upstream's seams


class Norm(ht.nn.Module):
    """A norm as transformers writes it."""

    centre = 0.0

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.weight = ht.nn.Parameter(ht.from_numpy(array(7, width)))
        self.variance_epsilon = eps
        self.ran = 0

    def forward(self, x):
        self.ran += 1
        wide = x.to(ht.float32)
        wide = wide * ht.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return (self.centre + self.weight) * wide.to(x.dtype)


class CentredNorm(Norm):
    """One that adds 1 to its weight."""

    centre = 1.0
    forward = Norm.forward


@pytest.mark.parametrize(
    ("cls", "name", "adopted"),
    [
        (Norm, "RMSNorm", True),
        (CentredNorm, "RMSNorm", False),
        (CentredNorm, "RMSNormZeroCentered", True),
        (Norm, "Other", False),
    ],
)
def test_a_marked_norm_is_adopted_only_if_it_means_ours(cls, name, adopted):
    kind = seams.adopt(name, type(cls.__name__, (cls,), {"forward": Norm.forward}))
    layer, x = kind(16), ht.from_numpy(array(0, 3, 16))
    with ht.no_grad():
        want = layer(x)
        ran = layer.ran
        with kernels.use("emulated"):
            for _ in range(3):
                got = layer(x)
            count = kernels.report()["rms_norm"]["calls"].get("cann", 0)
    assert (count == 3 and layer.ran == ran) if adopted else (count == 0 and layer.ran == ran + 3)
    assert_close(got, want, "float32", 8)


def test_a_norm_whose_dtypes_the_kernel_refuses_runs_upstreams_code():
    layer = seams.adopt("RMSNorm", type("Mixed", (Norm,), {"forward": Norm.forward}))(16)
    x = ht.from_numpy(array(0, 3, 16)).to(ht.float16)
    with ht.no_grad(), kernels.use("emulated"):
        out = layer(x)
        report = kernels.report()["rms_norm"]
    assert out.dtype is ht.float32
    assert report["fallbacks"] == {"cann: dtypes differ: x float16, weight float32": 1}


def half_rotary(q, k, cos, sin, unsqueeze_dim=1):
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)

    def turn(x):
        n = x.shape[-1] // 2
        return ht.cat((-x[..., n:], x[..., :n]), dim=-1)

    return q * cos + turn(q) * sin, k * cos + turn(k) * sin


def pairs_rotary(q, k, cos, sin, unsqueeze_dim=1):
    n = cos.shape[-1] // 2
    cos, sin = (t[..., :n].repeat_interleave(2, dim=-1).unsqueeze(unsqueeze_dim) for t in (cos, sin))

    def turn(x):
        return ht.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)

    return q * cos + turn(q) * sin, k * cos + turn(k) * sin


def backwards_rotary(q, k, cos, sin, unsqueeze_dim=1):
    return half_rotary(q, k, cos, -sin, unsqueeze_dim)


@pytest.mark.parametrize(
    ("function", "adopted"), [(half_rotary, True), (pairs_rotary, True), (backwards_rotary, False)]
)
@pytest.mark.parametrize("dim", [1, 2])
def test_a_marked_rotary_function_is_adopted_in_its_own_style(function, adopted, dim):
    ours = seams.adopt("rotary_pos_emb", function)
    shape = (2, 4, 5, 16) if dim == 1 else (2, 5, 4, 16)
    q, k = ht.from_numpy(array(0, *shape)), ht.from_numpy(array(1, *shape))
    cos, sin = ht.from_numpy(array(2, 2, 5, 16)), ht.from_numpy(array(3, 2, 5, 16))
    want = function(q, k, cos, sin, unsqueeze_dim=dim)
    with kernels.use("emulated"):
        got = ours(q, k, cos, sin, unsqueeze_dim=dim)
        assert kernels.report()["rotary"]["calls"] == ({"cann": 1} if adopted else {})
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, "float32", 4)


def test_layers_on_the_meta_device_stay_there():
    kind = seams.adopt("RMSNorm", type("Meta", (Norm,), {"forward": Norm.forward}))
    layer, x = kind(16), ht.from_numpy(array(0, 3, 16))
    with kernels.use("emulated"):
        layer(x)
        out = kind(16).to("meta")(ht.empty(3, 16, device="meta"))
    assert out.device.type == "meta"
    assert tuple(out.shape) == (3, 16)


def test_the_first_look_at_a_layer_leaves_a_graph_capture_alone():
    layer = seams.adopt("RMSNorm", type("Captured", (Norm,), {"forward": Norm.forward}))(16)
    capture = jit_context.JitContext()  # recording an operator into it raises AttributeError
    jit_context.set_jit_context(capture)
    try:
        assert seams._norm_agrees(type(layer), Norm.forward, layer, "variance_epsilon", 0.0)
        assert seams._rotary_style(half_rotary) == ("half", False)
        assert jit_context.jit_context() is capture
    finally:
        jit_context.set_jit_context(None)
