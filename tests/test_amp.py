"""Mixed precision: autocast's casts and GradScaler's steps, beside real torch's on the CPU.

Tolerances are bfloat16's: a result is rounded to 2**-8 of itself. Where many roundings add up, what they amount to is
taken from real torch: its own distance to float32.
"""

import logging
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch as real
import transformers

import hf_ascend
from hf_ascend import torch
from hf_ascend.shims.torch.amp import autocast_mode

ROUNDING = 2.0**-8


@pytest.fixture
def casting(monkeypatch):
    """Autocast as on Ascend."""
    monkeypatch.setenv("HF_ASCEND_AUTOCAST", "cpu")


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype("f")


def array(x: Any) -> np.ndarray:
    return x.detach().float().numpy()


def name_of(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


# operator -> call with torch and two functions: a float32 tensor of a shape, and one of integers
LOWER = {
    "linear": lambda t, x, i: t.nn.functional.linear(x(3, 4), x(5, 4), x(5)),
    "matmul": lambda t, x, i: t.matmul(x(2, 3, 4), x(4, 5)),
    "@": lambda t, x, i: x(3, 4) @ x(4, 5),
    "mm": lambda t, x, i: t.mm(x(3, 4), x(4, 5)),
    "mv": lambda t, x, i: t.mv(x(3, 4), x(4)),
    "bmm": lambda t, x, i: x(2, 3, 4).bmm(x(2, 4, 5)),
    "addmm": lambda t, x, i: t.addmm(x(5), x(3, 4), x(4, 5)),
    "addbmm": lambda t, x, i: t.addbmm(x(3, 5), x(2, 3, 4), x(2, 4, 5)),
    "baddbmm": lambda t, x, i: t.baddbmm(x(2, 3, 5), x(2, 3, 4), x(2, 4, 5), beta=0.5),
    "einsum": lambda t, x, i: t.einsum("bij,bjk->bik", x(2, 3, 4), x(2, 4, 5)),
    "linalg.multi_dot": lambda t, x, i: t.linalg.multi_dot([x(3, 4), x(4, 5)]),
    "conv1d": lambda t, x, i: t.nn.functional.conv1d(x(1, 2, 6), x(3, 2, 2), x(3)),
    "conv2d": lambda t, x, i: t.nn.functional.conv2d(x(1, 2, 5, 5), x(3, 2, 2, 2), x(3)),
    "conv3d": lambda t, x, i: t.nn.functional.conv3d(x(1, 2, 4, 4, 4), x(3, 2, 2, 2, 2)),
    "conv_transpose1d": lambda t, x, i: t.nn.functional.conv_transpose1d(x(1, 2, 5), x(2, 3, 2)),
    "conv_transpose2d": lambda t, x, i: t.nn.functional.conv_transpose2d(x(1, 2, 4, 4), x(2, 3, 2, 2), x(3)),
    "prelu": lambda t, x, i: t.nn.functional.prelu(x(3, 4), x(1)),
    "scaled_dot_product_attention": lambda t, x, i: t.nn.functional.scaled_dot_product_attention(
        x(1, 2, 4, 8), x(1, 2, 4, 8), x(1, 2, 4, 8), is_causal=True
    ),
}
FLOAT32 = {
    "mse_loss": lambda t, x, i: t.nn.functional.mse_loss(x(3, 4), x(3, 4)),
    "l1_loss": lambda t, x, i: t.nn.functional.l1_loss(x(3, 4), x(3, 4)),
    "smooth_l1_loss": lambda t, x, i: t.nn.functional.smooth_l1_loss(x(3, 4), x(3, 4)),
    "huber_loss": lambda t, x, i: t.nn.functional.huber_loss(x(3, 4), x(3, 4)),
    "nll_loss": lambda t, x, i: t.nn.functional.nll_loss(x(3, 4), i(3)),
    "multi_margin_loss": lambda t, x, i: t.nn.functional.multi_margin_loss(x(3, 4), i(3)),
    "soft_margin_loss": lambda t, x, i: t.nn.functional.soft_margin_loss(x(3, 4), x(3, 4).detach()),
    "triplet_margin_loss": lambda t, x, i: t.nn.functional.triplet_margin_loss(x(3, 4), x(3, 4), x(3, 4)),
    "cosine_embedding_loss": lambda t, x, i: t.nn.functional.cosine_embedding_loss(x(3, 4), x(3, 4), i(3)),
    "binary_cross_entropy_with_logits": lambda t, x, i: t.nn.functional.binary_cross_entropy_with_logits(
        x(3, 4), x(3, 4)
    ),
    "prod": lambda t, x, i: x(3, 4).prod(-1),
    "cdist": lambda t, x, i: t.cdist(x(3, 4), x(5, 4)),
}  # what the CPU's list has, too
FLOAT32_ON_ACCELERATORS = {
    "exp": lambda t, x, i: t.exp(x(3, 4)),
    "log": lambda t, x, i: (x(3, 4) ** 2 + 1).log(),
    "pow": lambda t, x, i: t.pow(x(3, 4), 2),
    "**": lambda t, x, i: x(3, 4) ** 2,
    "2 **": lambda t, x, i: 2 ** x(3, 4),
    "square": lambda t, x, i: x(3, 4).square(),
    "rsqrt": lambda t, x, i: (x(3, 4) ** 2 + 1).rsqrt(),
    "softmax": lambda t, x, i: x(3, 4).softmax(-1),
    "log_softmax": lambda t, x, i: t.nn.functional.log_softmax(x(3, 4), -1),
    "cross_entropy": lambda t, x, i: t.nn.functional.cross_entropy(x(3, 4), i(3)),
    "layer_norm": lambda t, x, i: t.nn.functional.layer_norm(x(3, 4), (4,), x(4), x(4)),
    "group_norm": lambda t, x, i: t.nn.functional.group_norm(x(3, 4, 2), 2, x(4), x(4)),
    "rms_norm": lambda t, x, i: t.nn.functional.rms_norm(x(3, 4), (4,), x(4)),
    "norm": lambda t, x, i: x(3, 4).norm(),
    "linalg.vector_norm": lambda t, x, i: t.linalg.vector_norm(x(3, 4), dim=-1),
    "sum": lambda t, x, i: x(3, 4).sum(),
    "cumsum": lambda t, x, i: x(3, 4).cumsum(0),
    "logsumexp": lambda t, x, i: x(3, 4).logsumexp(-1),
    "cosine_similarity": lambda t, x, i: t.nn.functional.cosine_similarity(x(3, 4), x(3, 4)),
    "softplus": lambda t, x, i: t.nn.functional.softplus(x(3, 4)),
    "interpolate": lambda t, x, i: t.nn.functional.interpolate(x(1, 2, 3, 3), scale_factor=2.0),
}


def makers(t: ModuleType, dtype: Any) -> tuple[Any, Any, list[Any]]:
    """Functions that make a differentiable tensor of `dtype`, and integers; and the list of the former."""
    made: list[Any] = []

    def floating(*shape: int) -> Any:
        made.append(t.tensor(values(*shape, seed=len(made))).to(dtype).requires_grad_())
        return made[-1]

    return floating, lambda n: t.ones(n, dtype=t.int64), made


def run(t: ModuleType, call: Any, dtype: Any, cast: bool) -> tuple[Any, list[Any]]:
    x, i, made = makers(t, dtype)
    with t.autocast("cpu", dtype=t.bfloat16, enabled=cast):
        y = call(t, x, i)
    t.autograd.backward([y], [t.ones_like(y)])
    return y, made


def assert_close(ours: Any, theirs: Any, roundings: int) -> None:
    a, b = array(ours), array(theirs)
    np.testing.assert_allclose(a, b, rtol=0, atol=roundings * ROUNDING * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize("name", LOWER)
def test_products_compute_in_bfloat16_as_torchs_and_their_gradients_arrive_in_float32(casting, name):
    (y, args), (want, want_args) = (run(t, LOWER[name], t.float32, True) for t in (torch, real))
    assert y.dtype == torch.bfloat16
    assert want.dtype in (real.bfloat16, real.float32)  # einsum, mv, ... are not in the list of the CPU
    assert_close(y, want, 2 if want.dtype == real.bfloat16 else 4)
    for a, b in zip(args, want_args, strict=True):
        assert a.grad.dtype == torch.float32
        assert_close(a.grad, b.grad, 4)


@pytest.mark.parametrize("name", FLOAT32)
def test_losses_of_bfloat16_compute_in_float32_as_torchs(casting, name):
    (y, args), (want, want_args) = (run(t, FLOAT32[name], t.bfloat16, True) for t in (torch, real))
    assert name_of(y.dtype) == name_of(want.dtype) == "float32"
    np.testing.assert_allclose(array(y), array(want), rtol=1e-5, atol=1e-6)
    for a, b in zip(args, want_args, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            assert name_of(a.grad.dtype) == name_of(b.grad.dtype) == "bfloat16"
            assert_close(a.grad, b.grad, 2)


@pytest.mark.parametrize("name", FLOAT32_ON_ACCELERATORS)
def test_what_accelerators_list_computes_in_float32(casting, name):
    call = FLOAT32_ON_ACCELERATORS[name]
    y, args = run(torch, call, torch.bfloat16, True)

    def rounded(*shape: int) -> Any:
        made.append(real.tensor(values(*shape, seed=len(made))).bfloat16().float())
        return made[-1]

    made: list[Any] = []
    want = call(real, rounded, lambda n: real.ones(n, dtype=real.int64))
    assert y.dtype == torch.float32
    np.testing.assert_allclose(array(y), array(want), rtol=1e-5, atol=1e-6)
    assert all(a.grad.dtype == torch.bfloat16 for a in args)


def test_what_is_not_listed_keeps_bfloat16_and_promotes_as_torchs(casting):
    def results(t):
        half, full = t.tensor(values(1, 2, 4, 4)).bfloat16(), t.tensor(values(1, 2, 4, 4, seed=1))
        f = t.nn.functional
        with t.autocast("cpu", dtype=t.bfloat16):
            return {
                "mean": half.mean(-1), "var": half.var(-1), "silu": f.silu(half), "gelu": f.gelu(half),
                "elu": f.elu(half), "mish": f.mish(half), "logsigmoid": f.logsigmoid(half),
                "pool": f.adaptive_avg_pool2d(half, 3), "add": half + half, "mixed": half * full,
                "cat": t.cat([half, full]), "stack": t.stack([half, full]), "stacked": t.stack([half, half]),
                "batch_norm": t.nn.BatchNorm2d(2)(half), "instance_norm": f.instance_norm(half),
                "where": t.where(full > 0, half, full),
                "double": f.linear(t.tensor(values(2, 3)).double(), t.tensor(values(4, 3)).double()),
                "float": f.adaptive_avg_pool2d(full, 3),
            }  # fmt: skip

    ours, theirs = results(torch), results(real)
    assert {k: name_of(v.dtype) for k, v in ours.items()} == {k: name_of(v.dtype) for k, v in theirs.items()}
    for name, value in ours.items():
        assert_close(value, theirs[name], 2)


def test_the_promote_list_takes_the_widest(casting):
    half, full = torch.tensor(values(3)).bfloat16(), torch.tensor(values(3, seed=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.addcmul(half, half, full).dtype == torch.float32
        assert torch.addcmul(half, half, half).dtype == torch.bfloat16
        assert torch.dot(half, full).dtype == torch.float32
        assert torch.atan2(full, half).dtype == torch.float32
        added = torch.zeros(3).scatter_add(0, torch.tensor([0, 0, 1]), half)
    assert added.dtype == torch.float32


def test_an_explicit_dtype_out_and_writing_in_place_are_not_cast(casting):
    half, full = torch.tensor(values(3, 3)).bfloat16(), torch.tensor(values(3, 3, seed=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert half.sum(dtype=torch.bfloat16).dtype == torch.bfloat16
        assert torch.softmax(full, -1, torch.bfloat16).dtype == torch.bfloat16
        out = torch.mm(full, full, out=torch.empty(3, 3))
        written = full.clone().addmm_(full, full)
    np.testing.assert_allclose(array(out), array(full) @ array(full), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(array(written), array(full) + array(full) @ array(full), rtol=1e-5, atol=1e-6)


def test_binary_cross_entropy_is_refused_as_by_torch_on_accelerators(casting):
    p = torch.sigmoid(torch.tensor(values(3)))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match="with_logits"):
        torch.nn.functional.binary_cross_entropy(p, p)
    assert not torch.is_autocast_enabled("cpu")


def test_a_weight_is_cast_once_per_block_and_gets_the_gradients_of_all_uses(casting):
    def train(t):
        layer = t.nn.Linear(4, 4)
        with t.no_grad():
            layer.weight.copy_(t.tensor(values(4, 4)))
            layer.bias.copy_(t.tensor(values(4)))
        x = t.tensor(values(3, 4, seed=2))
        with t.autocast("cpu", dtype=t.bfloat16):
            first, second = layer(x).float().sum(), layer(layer(x)).float().sum()
        first.backward()  # torch's cast outlives the backward pass of one of its users
        second.backward()
        return layer

    casts = []
    original = torch._autocast._operators["_cast"]
    torch._autocast._operators["_cast"] = lambda x, d: (casts.append(x), original(x, d))[1]
    try:
        ours = train(torch)
    finally:
        torch._autocast._operators["_cast"] = original
    theirs = train(real)
    weights = [x for x in casts if x is ours.weight]
    assert len(weights) == 1
    assert ours.weight.grad.dtype == torch.float32
    assert_close(ours.weight.grad, theirs.weight.grad, 4)
    assert not torch._autocast._weights


def test_weights_changed_between_blocks_are_cast_anew(casting):
    layer, x = torch.nn.Linear(2, 2, bias=False), torch.ones(1, 2)
    seen = []
    for value in (1.0, 3.0):
        with torch.no_grad():
            layer.weight.fill_(value)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                layer(x)
            y = layer(x)  # recorded, although the block's first cast was not
        y.float().sum().backward()
        seen.append(float(y[0, 0]))
    assert seen == [2.0, 6.0]
    assert layer.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_regions_nest_decorate_and_end_with_errors(casting):
    x = torch.tensor(values(2, 2))
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert torch.get_autocast_dtype("cuda") == torch.float16

    @torch.amp.autocast("cpu", torch.float16)
    def product():
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.float16
        with torch.autocast("cpu", enabled=False):
            assert not torch.is_autocast_enabled("cpu")
            assert (x @ x).dtype == torch.float32
        return x @ x

    assert product().dtype == product().dtype == torch.float16
    with pytest.raises(KeyError), torch.autocast("cpu"):
        raise KeyError
    assert not torch.is_autocast_enabled("cpu")
    assert (x @ x).dtype == torch.float32
    with pytest.warns(UserWarning, match="float32"), torch.autocast("cpu", dtype=torch.float32):
        assert (x @ x).dtype == torch.float32
    with torch.npu.amp.autocast(dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
    with pytest.warns(FutureWarning, match="deprecated"), torch.cuda.amp.autocast():
        assert (x @ x).dtype == torch.float16


def test_the_state_can_be_set_and_leaves_real_torchs_alone(casting):
    x = torch.tensor(values(2, 2))
    with torch.autocast("cpu", enabled=False):
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.set_autocast_enabled("cpu", True)
        assert (x @ x).dtype == torch.float16
        assert not real.is_autocast_enabled("cpu")
        assert real.get_autocast_dtype("cpu") == real.bfloat16
        torch.set_autocast_enabled("cpu", False)
        assert (x @ x).dtype == torch.float32
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16


def test_custom_functions_cast_their_inputs_and_go_back_as_they_went_forward(casting):
    seen = []

    def function(t):
        class Product(t.autograd.Function):
            @staticmethod
            @t.amp.custom_fwd(device_type="cpu", cast_inputs=t.float32)
            def forward(ctx, x):
                seen.append((name_of(x.dtype), t.is_autocast_enabled("cpu")))
                return x * 2

            @staticmethod
            @t.amp.custom_bwd(device_type="cpu")
            def backward(ctx, g):
                seen.append((name_of(g.dtype), t.is_autocast_enabled("cpu")))
                return g * 2

        x = t.tensor(values(2)).bfloat16().requires_grad_()
        with t.autocast("cpu", dtype=t.bfloat16):
            y = Product.apply(x)
            y.backward(t.ones_like(y))
        return array(x.grad).tolist()

    assert function(torch) == function(real)
    assert seen[:2] == seen[2:]


def test_a_checkpointed_block_is_recomputed_in_the_dtype_it_ran_in(casting):
    layer, x, seen = torch.nn.Linear(4, 4), torch.tensor(values(3, 4)).requires_grad_(), []

    def block(x):
        y = layer(x)
        seen.append(y.dtype)
        return y

    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    y.float().sum().backward()
    assert seen == [torch.bfloat16] * 2
    assert layer.weight.grad.dtype == torch.float32


def test_without_the_setting_the_cpu_computes_in_float32_and_says_so_once(caplog, monkeypatch):
    monkeypatch.setattr(autocast_mode, "_said", False)
    monkeypatch.delenv("HF_ASCEND_AUTOCAST", raising=False)
    x = torch.tensor(values(2, 2))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert (x @ x).dtype == torch.float32
                assert not torch.is_autocast_enabled("cpu")
    (told,) = [r.getMessage() for r in caplog.records]
    assert "HF_ASCEND_AUTOCAST=cpu" in told
    monkeypatch.setenv("HF_ASCEND_AUTOCAST", "npu")
    with pytest.raises(ValueError, match="HF_ASCEND_AUTOCAST"), torch.autocast("cpu"):
        pass


# ---- models
CONFIG: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
IDS = np.random.RandomState(0).randint(1, 64, (8, 12))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The folder of a tiny Llama."""
    folder = tmp_path_factory.mktemp("llama")
    real.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_llama_is_as_close_to_torchs_as_roundings_to_bfloat16_allow(casting, llama, attention):
    def results(t, library, cast):
        model = library.LlamaForCausalLM.from_pretrained(llama, attn_implementation=attention)
        ids = t.tensor(IDS)
        with t.autocast("cpu", dtype=t.bfloat16, enabled=cast):
            out = model(input_ids=ids, labels=ids)
        out.loss.backward()
        assert out.logits.dtype == (t.bfloat16 if cast else t.float32)
        assert all(p.grad.dtype == t.float32 for p in model.parameters())
        return {"logits": array(out.logits), **{k: p.grad.numpy() for k, p in model.named_parameters()}}

    exact, theirs = (results(real, transformers, cast) for cast in (False, True))
    ours = results(torch, hf_ascend, True)
    for name, want in theirs.items():
        rounding = np.linalg.norm(want - exact[name])
        # Both are that far from float32, each in its own direction.
        assert np.linalg.norm(ours[name] - want) < 2 * rounding, name
        assert np.linalg.norm(ours[name] - exact[name]) > rounding / 2, name


def test_the_trainer_with_bf16_follows_torchs_losses(casting, llama, tmp_path):
    def losses(library, folder, bf16):
        model = library.LlamaForCausalLM.from_pretrained(llama)
        args = library.TrainingArguments(
            output_dir=str(tmp_path / folder), bf16=bf16, use_cpu=True, max_steps=5, per_device_train_batch_size=4,
            learning_rate=1e-2, logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        rows = [{"input_ids": r.tolist(), "labels": r.tolist()} for r in IDS]
        trainer = library.Trainer(model=model, args=args, train_dataset=rows)
        trainer.train()
        return np.array([h["loss"] for h in trainer.state.log_history if "loss" in h])

    ours, theirs = losses(hf_ascend, "ours", True), losses(transformers, "theirs", True)
    assert ours[-1] < ours[0] - 0.5
    # A loss is made of logits, of which each is rounded to 2**-8 of itself.
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING)
    assert (ours != losses(hf_ascend, "float32", False)).any()


# ---- GradScaler
BAD = {2: float("inf"), 3: float("nan"), 7: float("-inf"), 8: float("inf")}


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "fused AdamW"])
@pytest.mark.parametrize("unscales", [False, True])
def test_the_scaler_takes_and_skips_the_steps_that_torchs_does(optimizer, unscales):
    def history(t):
        p, q = (t.nn.Parameter(t.tensor(values(*s))) for s in ((3, 2), (2,)))
        options = {"fused": True} if optimizer.startswith("fused") else {}
        o = getattr(t.optim, optimizer.split()[-1])([p, q], lr=0.1, **options)
        scaler = t.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2, growth_factor=4.0)
        found = []
        for step in range(12):
            o.zero_grad()
            scaler.scale((p.square().sum(0) * q).sum()).backward()
            if step in BAD:
                p.grad[1, 0] = BAD[step]
            if unscales:
                scaler.unscale_(o)
                t.nn.utils.clip_grad_norm_([p, q], 1.0)
            scaler.step(o)
            scaler.update()
            found.append((scaler.state_dict(), p.detach().numpy().copy(), q.detach().numpy().copy()))
            if step == 5:  # goes on from its saved state
                state, scaler = scaler.state_dict(), t.amp.GradScaler("cpu")
                scaler.load_state_dict(state)
        return found

    ours, theirs = history(torch), history(real)
    assert [state for state, *_ in ours] == [state for state, *_ in theirs]
    assert len({state["scale"] for state, *_ in ours}) > 2
    for (_, *weights), (_, *wanted) in zip(ours, theirs, strict=True):
        for a, b in zip(weights, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for step in BAD:
        assert (ours[step][1] == ours[step - 1][1]).all()


def test_the_scale_stays_finite_and_float16_gradients_are_refused():
    for t in (torch, real):
        p = t.nn.Parameter(t.ones(2))
        o = t.optim.SGD([p], lr=0.1)
        scaler = t.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
        scaler.scale((p * 0).sum()).backward()
        scaler.step(o)
        scaler.update()
        assert scaler.get_scale() == 2.0**127
        half = t.nn.Parameter(t.ones(2, dtype=t.float16))
        scaler = t.amp.GradScaler("cpu")
        scaler.scale((half * 2).sum()).backward()
        with pytest.raises(ValueError, match="FP16"):
            scaler.unscale_(t.optim.SGD([half], lr=0.1))


def test_a_scaler_of_an_accelerator_that_is_not_there_turns_itself_off_as_torchs():
    for t in (torch, real):
        with pytest.warns(UserWarning, match="not available"):
            scaler = t.amp.GradScaler("cuda")
        assert not scaler.is_enabled()
        loss = t.ones(1)
        assert scaler.scale(loss) is loss


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_accelerate_trains_in_mixed_precision_without_the_setting(precision, monkeypatch):
    monkeypatch.delenv("HF_ASCEND_AUTOCAST", raising=False)
    reset = hf_ascend.accelerate.state.AcceleratorState._reset_state
    reset(reset_partial_state=True)
    accelerator = hf_ascend.accelerate.Accelerator(cpu=True, mixed_precision=precision)
    try:
        model = torch.nn.Linear(3, 2)
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
        before = model.weight.detach().numpy().copy()
        with accelerator.autocast():
            loss = model(torch.tensor(values(4, 3))).square().sum()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert not optimizer.step_was_skipped
        assert (model.weight.detach().numpy() != before).any()
    finally:
        reset(reset_partial_state=True)
