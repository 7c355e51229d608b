"""What mindspore.jit(capture_mode="trace") records: every result follows the inputs, and what cannot be is refused."""

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
import pytest

import hf_ascend
from hf_ascend import torch
from hf_ascend.runtime.graph import export_mindir
from hf_ascend.torch import _ms
from hf_ascend.transformers import StaticCache

F = torch.nn.functional
_RANDOM = np.random.RandomState(0)


def _floats(*shape: int) -> Any:
    return torch.from_numpy(_RANDOM.standard_normal(shape).astype(np.float32))


def _ints(high: int, *shape: int) -> Any:
    return torch.from_numpy(_RANDOM.randint(0, high, shape))


def capture(fn: Callable[..., Any]) -> Any:
    return mindspore.jit(fn, capture_mode="trace")


def numbers(values: Any) -> list[np.ndarray]:
    return [np.array(v.detach().asnumpy() if hasattr(v, "detach") else v.asnumpy()) for v in values]


def same(found: Any, expected: Any, names: Any = None, tolerance: float = 1e-5) -> None:
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        name = list(names)[i] if names else i
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        scale = max(1.0, float(np.abs(b.astype(np.float64)).max(initial=0.0)))
        worst = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
        assert worst <= tolerance * scale, (name, worst)


# ---- operators: x is (3, 4) float32, i is (3, 3) int64 below 3; both are inputs of the graph
K = _floats(3, 4)
OPERATORS: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "arithmetic": {
        "add": lambda x, i: x + K,
        "rsub": lambda x, i: 1 - x,
        "div": lambda x, i: x / 2,
        "floordiv": lambda x, i: x // 0.3,
        "mod": lambda x, i: x % 0.7,
        "int arithmetic": lambda x, i: (i // 2) + (i % 3) + (i ^ 1) + (i & 1) + ~i,
        "true division of ints": lambda x, i: i / 3,
        "truncated division": lambda x, i: torch.div(x, 0.3, rounding_mode="trunc"),
        "square": lambda x, i: x**2,
        "power": lambda x, i: x.abs() ** 1.5,
        "rpow": lambda x, i: 2**x,
        "exp": lambda x, i: x.exp(),
        "tanh": lambda x, i: (x * 4).tanh(),
        "erf": lambda x, i: x.erf(),
        "sigmoid": lambda x, i: x.sigmoid(),
        "rsqrt": lambda x, i: (x * x + 1).rsqrt(),
        "log": lambda x, i: (x * x + 1).log(),
        "cos": lambda x, i: x.cos(),
        "neg": lambda x, i: -x,
        "round": lambda x, i: x.round(),
        "sign": lambda x, i: x.sign(),
        "clamp": lambda x, i: x.clamp(-0.5, 0.5),
        "maximum": lambda x, i: torch.maximum(x, K),
        "where": lambda x, i: torch.where(x > 0, x, K),
        "masked_fill": lambda x, i: x.masked_fill(x > 0, -1.0),
        "compare": lambda x, i: (x < K) & ~(x > 0) | (i.sum() == 1),
        "isnan": lambda x, i: x.isnan(),
        "to int": lambda x, i: (x * 3).long(),
        "to double": lambda x, i: x.double(),
        "to bool": lambda x, i: i.bool(),
        "to float": lambda x, i: i.to(x.dtype),
        "lerp": lambda x, i: torch.lerp(x, K, 0.3),
        "nan_to_num": lambda x, i: x.nan_to_num(),
    },
    "shapes": {
        "view": lambda x, i: x.view(4, 3),
        "t": lambda x, i: x.t(),
        "permute": lambda x, i: x.permute(1, 0),
        "transpose": lambda x, i: x.transpose(0, 1) * 2,
        "unsqueeze": lambda x, i: x.unsqueeze(1),
        "squeeze": lambda x, i: x[:1].squeeze(0),
        "expand": lambda x, i: x.expand(2, 3, 4),
        "movedim": lambda x, i: x.movedim(0, 1),
        "mT": lambda x, i: x.mT,
        "diagonal": lambda x, i: x.diagonal(1),
        "slice": lambda x, i: x[1:, ::2],
        "row": lambda x, i: x[1],
        "negative row": lambda x, i: x[-1, 1:],
        "ellipsis": lambda x, i: x[..., 0],
        "None": lambda x, i: x[None, 1, ..., None],
        "chunk and cat": lambda x, i: torch.cat(x.chunk(2, 1)[::-1], 1),
        "split": lambda x, i: x.split([1, 3], 1)[1],
        "unbind": lambda x, i: x.unbind(0)[2],
        "narrow": lambda x, i: x.narrow(1, 1, 2),
        "select": lambda x, i: x.select(1, 2),
        "stack": lambda x, i: torch.stack([x, x * 2], 1),
        "repeat": lambda x, i: x.repeat(2, 1),
        "repeat_interleave": lambda x, i: x.repeat_interleave(2, 1),
        "flip": lambda x, i: x.flip(1),
        "roll": lambda x, i: x.roll(1, 1),
        "tril": lambda x, i: x.tril(),
        "unfold": lambda x, i: x.unfold(1, 2, 1),
        "clone": lambda x, i: x.clone(),
        "contiguous": lambda x, i: x.t().contiguous(),
        "detach": lambda x, i: x.detach(),
        "diff": lambda x, i: x.diff(),
        "pad": lambda x, i: F.pad(x, (1, 1)),
        "pad by replication": lambda x, i: F.pad(x[None], (1, 2), mode="replicate"),
        "zeros_like": lambda x, i: torch.zeros_like(x) + x,
        "new_ones": lambda x, i: x.new_ones(3, 1) * x,
        "full_like": lambda x, i: torch.full_like(x, 2.0) * x,
    },
    "indices": {
        "list": lambda x, i: x[[0, 2]],
        "two constant indices": lambda x, i: x[torch.tensor([0, 1]), torch.tensor([1, -1])],
        "constant mask": lambda x, i: x[torch.tensor([True, False, True])],
        "index": lambda x, i: x[i[:, 0]],
        "negative index": lambda x, i: x[i[:, 0] - 3],
        "two indices": lambda x, i: x[i[:, 0], i[:, 1]],
        "index of a later dimension": lambda x, i: x[:, i[0]],
        "constant and index": lambda x, i: x[torch.arange(3), i[:, 0]],
        "number and index": lambda x, i: x[1, i[0]],
        "gather": lambda x, i: x.gather(1, i),
        "gather by constants": lambda x, i: x.gather(1, torch.tensor([[0], [1], [2]])),
        "index_select": lambda x, i: x.index_select(0, i[0, :2]),
        "take_along_dim": lambda x, i: torch.take_along_dim(x, i, 1),
        "index_add": lambda x, i: torch.zeros(3, 4).index_add(0, torch.tensor([0, 0, 2]), x),
        "index_add at inputs": lambda x, i: torch.zeros(4, 4).index_add(0, i[0], x),
        "index_add of a later dimension": lambda x, i: torch.zeros(4, 4).index_add(1, i[0], x.t()),
        "scatter_add": lambda x, i: torch.zeros(3, 4).scatter_add(1, i, x),
        "scatter": lambda x, i: torch.zeros(3, 4).scatter(1, torch.tensor([[0], [1], [2]]), x),
        "scatter at inputs": lambda x, i: torch.zeros(3, 4).scatter(1, i[:, :1], 1.0),
        "index_put, accumulated": lambda x, i: x.index_put((i[:, 0],), torch.tensor(1.0), accumulate=True),
        "index_copy": lambda x, i: torch.zeros(4, 3).index_copy(0, torch.tensor([1, 2]), x[:2, :3]),
        "index_fill": lambda x, i: x.index_fill(1, torch.tensor([0]), 5.0),
        "masked_scatter": lambda x, i: x.masked_scatter(torch.tensor([[True], [False], [True]]), K * 2),
        "topk": lambda x, i: x.topk(2, 1).values,
        "topk indices": lambda x, i: x.topk(2, 1).indices,
        "sort": lambda x, i: x.sort(0).values,
        "sort indices": lambda x, i: x.sort(1, descending=True).indices,
        "argsort": lambda x, i: x.argsort(1),
        "one_hot": lambda x, i: F.one_hot(i, 4),
        "isin": lambda x, i: torch.isin(i, torch.tensor([1, 3])),
        "bucketize": lambda x, i: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])),
    },
    "reductions": {
        "sum": lambda x, i: x.sum(),
        "sum, kept": lambda x, i: x.sum(1, keepdim=True),
        "sum of ints": lambda x, i: i.sum(-1),
        "mean": lambda x, i: x.mean(-1),
        "var": lambda x, i: x.var(-1),
        "std": lambda x, i: x.std(),
        "max of all": lambda x, i: x.max(),
        "max": lambda x, i: x.max(1).values,
        "max indices": lambda x, i: x.max(1, keepdim=True).indices,
        "min": lambda x, i: x.min(0)[0],
        "argmax": lambda x, i: x.argmax(-1),
        "argmax of all": lambda x, i: x.argmax(),
        "amax": lambda x, i: x.amax(1),
        "all": lambda x, i: (x > -1).all(),
        "any": lambda x, i: (x > 1).any(1),
        "cumsum": lambda x, i: x.cumsum(1),
        "cumsum of ints": lambda x, i: i.cumsum(1),
        "prod": lambda x, i: x.prod(1),
        "logsumexp": lambda x, i: x.logsumexp(1),
        "softmax": lambda x, i: x.softmax(-1),
        "log_softmax": lambda x, i: x.log_softmax(-1),
        "norm": lambda x, i: x.norm(dim=-1),
        "count_nonzero": lambda x, i: torch.count_nonzero(i, 1),
    },
    "layers": {
        "silu": lambda x, i: F.silu(x),
        "gelu": lambda x, i: F.gelu(x),
        "gelu by tanh": lambda x, i: F.gelu(x * 2, approximate="tanh"),
        "softplus": lambda x, i: F.softplus(x),
        "elu": lambda x, i: F.elu(x),
        "leaky_relu": lambda x, i: F.leaky_relu(x),
        "layer_norm": lambda x, i: F.layer_norm(x, (4,), K[0], K[1]),
        "rms_norm": lambda x, i: F.rms_norm(x, (4,), K[0]),
        "group_norm": lambda x, i: F.group_norm(x[None].transpose(1, 2), 2),
        "batch_norm": lambda x, i: F.batch_norm(x, K[0], K[1].abs()),
        "embedding": lambda x, i: F.embedding(i, K.t()),
        "embedding with padding": lambda x, i: F.embedding(i, x.t(), padding_idx=1),
        "linear": lambda x, i: F.linear(x, K, K[:, 0]),
        "matmul": lambda x, i: x @ K.t(),
        "batched matmul": lambda x, i: x.expand(2, 3, 4) @ K.t(),
        "matrix times vector": lambda x, i: x @ K[0],
        "einsum": lambda x, i: torch.einsum("ij,kj->ik", x, K),
        "attention": lambda x, i: F.scaled_dot_product_attention(x[None], K[None], K[None], is_causal=True),
        "masked attention": lambda x, i: F.scaled_dot_product_attention(
            x[None], K[None], K[None], attn_mask=(x @ K.t() > -1)[None]
        ),
        "cross_entropy": lambda x, i: F.cross_entropy(x, i[:, 0]),
        "cross_entropy, ignored": lambda x, i: F.cross_entropy(x, torch.where(i[:, 0] == 1, -100, i[:, 0])),
        "mse_loss": lambda x, i: F.mse_loss(x, K),
        "bce": lambda x, i: F.binary_cross_entropy_with_logits(x, (K > 0).float()),
        "conv2d": lambda x, i: F.conv2d(x[None, None], K[None, None, :2, :2]),
        "conv1d": lambda x, i: F.conv1d(x[None], K[:, :3, None].expand(3, 3, 2)),
        "max_pool2d": lambda x, i: F.max_pool2d(x[None, None], 2),
        "avg_pool2d": lambda x, i: F.avg_pool2d(x[None, None], 2),
        "bilinear": lambda x, i: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"),
    },
}


@pytest.mark.parametrize("group", OPERATORS)
def test_the_result_of_every_operator_follows_the_inputs(group):
    """Run on other values than it was captured with: whatever escaped the recorder would give the first ones again."""
    table = OPERATORS[group]

    def every(x, i):
        return tuple(fn(x, i) for fn in table.values())

    run = capture(every)
    for _ in range(2):
        x, i = _floats(3, 4), _ints(3, 3, 3)
        same(numbers(run(x, i)), numbers(every(x, i)), table)


def test_a_function_does_not_get_the_graph_of_one_that_is_gone():
    """Python would give the id of a freed function to the next; with the same line, MindSpore took them for one."""
    x = _floats(3)
    for n in range(6):
        assert numbers([capture(lambda x, n=n: x * n)(x)])[0].tolist() == (x.numpy() * n).tolist()


def _store_slice(x):
    y = x * 1
    y[:, 1:3] = x[:, :2] * 2
    return y


def _store_at_index(x):
    y = x * 1
    y[x[:, 0].long().clamp(0, 2)] = 7.0
    return y


def _store_mask(x):
    y = x * 1
    y[x > 0] = 0.0
    return y


def _store_into_view(x):
    y = x * 1
    row = y[1].view(2, 2)
    row.mul_(10)
    row[0] += 1
    return y


def _store_into_new(x):
    y = torch.zeros(3, 4)
    y[:, 0] = 5
    y[1] = x[1]
    y[:, 2:].copy_(x[:, 2:])
    return y


def _chain(x):
    y = x.clone()
    y.add_(1).mul_(2).clamp_(min=0)
    y -= 3
    y.masked_fill_(y < -2, 9.0)
    return y


def _copy_rows(x):
    y = torch.zeros(5, 4)
    y.index_copy_(0, (x[:, 0] > 0).long().cumsum(0), x)
    return y


@pytest.mark.parametrize(
    "fn",
    [_store_slice, _store_at_index, _store_mask, _store_into_view, _store_into_new, _chain, _copy_rows],
    ids=lambda fn: fn.__name__.strip("_"),
)
@pytest.mark.parametrize("recording", [True, False], ids=["grad", "no_grad"])
def test_in_place_operations_become_functions(fn, recording):
    with torch.set_grad_enabled(recording):
        run = capture(fn)
        for _ in range(2):
            x = _floats(3, 4)
            before = x.numpy().copy()
            same(numbers([run(x)]), numbers([fn(x)]))
            assert (x.numpy() == before).all()


# ---- what is refused
BUFFER = _floats(3)
PARAMETER = torch.nn.Parameter(_floats(3))


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda x: x * 2 if x.sum() > 0 else x, "needed on the host"),
        (lambda x: x * x.max().item(), "needed on the host"),
        (lambda x: x[x > 0], "mask selects"),
        (lambda x: x.nonzero(), "nonzero cannot be captured"),
        (lambda x: torch.linalg.svd(x[None])[1], "svd cannot be captured"),
        (lambda x: x + torch.rand(3), "random numbers"),
        (lambda x: x.add_(1), "in-place operation on an input"),
        (lambda x: x[:2].add_(1), "in-place operation on an input"),
        (lambda x: BUFFER.add_(x), "neither an input nor made"),
        (lambda x: BUFFER.add_(1) + x, "neither an input nor made"),
        (lambda x: PARAMETER.copy_(x), "in-place operation on a parameter"),
        (lambda x: (x * 1).numpy(), "needed on the host"),
        (lambda x: mindspore.value_and_grad(lambda y: (y * y).sum())(x), "inside a captured function"),
        (lambda x: torch.autograd.grad((PARAMETER * x).sum(), PARAMETER)[0], "inside a captured function"),
    ],
)
def test_what_no_graph_can_hold_is_refused(fn, says):
    x, buffer, parameter = _floats(3), BUFFER.numpy().copy(), PARAMETER.detach().numpy().copy()

    class Layer(torch.nn.Module):
        def forward(self, x):
            return fn(x)

    layer = Layer()
    with pytest.raises(_ms.CaptureError, match=says):
        capture(lambda x: layer(x))(x)
    assert (BUFFER.numpy() == buffer).all()
    assert (PARAMETER.detach().numpy() == parameter).all()
    # and nothing of the failure stays: operators work, and so does the next capture
    assert (x + 1).tolist() == (x.numpy() + 1).tolist()
    same(numbers([capture(lambda x: x * 3)(x)]), [x.numpy() * 3])


def test_a_result_that_escaped_the_recorder_is_refused():
    torch._registry.op("escaping_for_this_test")(lambda x: _ms.mint.transpose(x, 0, 1))
    try:
        call = torch._registry.NAMESPACE["escaping_for_this_test"]
        with pytest.raises(_ms.CaptureError, match="escaped MindSpore's recorder"):
            capture(lambda x: call(x))(_floats(2, 3))
    finally:
        _ms.abandon_capture()
        del torch._registry.NAMESPACE["escaping_for_this_test"]


def test_dropout_in_a_graph_differs_from_run_to_run():
    run = capture(lambda x: torch.nn.functional.dropout(x, 0.5))
    x = torch.ones(400)
    first, second = numbers([run(x), run(x)])
    assert (first != second).any()
    for found in (first, second):
        assert set(np.unique(found)) == {0.0, 2.0}
        assert 120 < np.count_nonzero(found) < 280


# ---- models
_SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64}
_WINDOWS = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_VIT = {k: v for k, v in _SMALL.items() if k != "vocab_size"} | {"image_size": 16, "patch_size": 4}
MODELS = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**_GROUPED, **_WINDOWS, "head_dim": 8}),
    "bert": ("BertModel", "BertConfig", {**_SMALL, "max_position_embeddings": 64}),
    "vit": ("ViTModel", "ViTConfig", _VIT),
    "t5 encoder": ("T5EncoderModel", "T5Config", _T5),
}


def _model(name: str) -> Any:
    cls, config, options = MODELS[name]
    torch.manual_seed(0)
    return getattr(hf_ascend, cls)(getattr(hf_ascend, config)(**options)).eval()


def _tokens(batch: int = 2, length: int = 7) -> Any:
    return _ints(63, batch, length) + 1


def _padded() -> Any:
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, : int(_RANDOM.randint(1, 5))] = 0
    return mask


@pytest.mark.parametrize("name", MODELS)
def test_a_captured_model_gives_the_eager_result_for_every_input(name):
    model = _model(name)

    def forward(*inputs):
        if name == "vit":
            return model(pixel_values=inputs[0]).last_hidden_state
        out = model(input_ids=inputs[0], attention_mask=inputs[1], **({} if "t5" in name else {"use_cache": False}))
        return out.logits if hasattr(out, "logits") else out.last_hidden_state

    run = capture(forward)
    results = []
    with torch.no_grad():
        for _ in range(2):
            inputs = (_floats(2, 3, 16, 16),) if name == "vit" else (_tokens(), _padded())
            results.append(numbers([run(*inputs)]))
            same(results[-1], numbers([forward(*inputs)]))
    assert np.abs(results[0][0] - results[1][0]).max() > 0.01


def test_a_model_itself_can_be_captured_and_a_new_shape_is_compiled_anew():
    model = _model("llama")
    model.config.use_cache = False
    run = capture(model)
    with torch.no_grad():
        for ids in (_tokens(), _tokens(), _tokens(1, 5), _tokens()):
            found = run(mindspore.Tensor(ids.numpy()))
            assert set(found) == {"logits"}
            same(numbers([found["logits"]]), numbers([model(ids).logits]))


def test_two_models_of_a_class_have_a_graph_each():
    one, other = _model("bert"), _model("bert")
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
        x = _tokens()
        for model in (one, other):
            same(numbers([capture(model)(x)["last_hidden_state"]]), numbers([model(x).last_hidden_state]))


def test_a_cache_among_a_captured_models_results_is_refused():
    model, x = _model("llama"), _tokens()
    with pytest.raises(_ms.CaptureError, match="DynamicCache.*use_cache=False"):
        capture(model)(x)
    same(numbers([capture(lambda x: model(x, use_cache=False).logits)(x)]), numbers([model(x).logits]))


def test_arguments_that_a_graph_would_take_for_constants_are_refused():
    model, x = _model("llama"), _tokens()
    model.config.use_cache = False
    with pytest.raises(_ms.CaptureError, match="output_extra of the captured module is not among"):
        capture(model)(input_ids=x, output_extra=_floats(1))


# ---- gradients
@pytest.fixture(scope="module")
def trained() -> Any:
    """A Llama, its loss as a function of tokens, and two batches with their eager losses and gradients."""
    model = _model("llama").train()

    def loss(ids):
        return model(input_ids=ids, labels=ids, use_cache=False).loss

    batches = []
    for _ in range(2):
        ids = _tokens()
        model.zero_grad()
        value = loss(ids)
        value.backward()
        batches.append((ids, float(value), {n: p.grad.numpy().copy() for n, p in model.named_parameters()}))
    model.zero_grad()
    return model, loss, batches


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own: see "After many graphs" in docs/CAPTURE.md."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if os.environ.get("TEST_ALONE") == test.__name__:
            test(*args, **kwargs)
            return
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{test.__name__}"]
        environment = {**os.environ, "TEST_ALONE": test.__name__}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout[-3000:]

    return run


@alone
def test_value_and_grad_of_a_captured_loss_gives_the_eager_gradients(trained):
    model, loss, batches = trained
    parameters = model.trainable_params()
    step = mindspore.value_and_grad(capture(loss), None, parameters)
    for ids, value, grads in batches:
        found, by = step(ids)
        assert abs(float(found.asnumpy()) - value) < 1e-5
        same(numbers(by), [grads[p.name] for p in parameters], [p.name for p in parameters])


@alone
def test_backward_from_a_captured_loss_gives_the_eager_gradients(trained):
    model, loss, batches = trained
    run = capture(loss)
    for ids, _, grads in batches:
        model.zero_grad()
        torch.autograd.backward(run(ids))
        same([p.grad.numpy() for p in model.parameters()], [grads[n] for n, _ in model.named_parameters()])


def test_a_captured_loss_trains_with_optimizers_of_both_worlds():
    layer, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
    run = capture(lambda x: (layer(x) ** 2).sum())
    before = float((layer(x) ** 2).sum())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for _ in range(3):
        value = run(x)
        assert abs(float(value.asnumpy()) - float((layer(x) ** 2).sum())) < 1e-5
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
    middle = float((layer(x) ** 2).sum())
    theirs = mindspore.nn.SGD(layer.trainable_params(), 0.01)
    step = mindspore.value_and_grad(run, None, theirs.parameters)
    for _ in range(3):
        theirs(step(x)[1])
    assert float((layer(x) ** 2).sum()) < 0.5 * middle < 0.25 * before


def test_detach_stops_gradients_in_a_graph_but_not_values():
    run = capture(lambda x: (x * x.detach()).sum())
    for x in (_floats(5), _floats(5)):
        value, grad = mindspore.value_and_grad(run)(x)
        same(numbers([value, grad]), [np.array((x.numpy() ** 2).sum()), x.numpy()])


# ---- decoding
def test_a_decoding_step_with_a_static_cache_is_one_graph():
    model, length = _model("llama"), 12
    ids = _tokens(2, 6)

    def step(token, position, *states):
        cache = StaticCache(config=model.config, max_cache_len=length)
        cache.early_initialization(batch_size=2, num_heads=2, head_dim=8, dtype=torch.float32, device="cpu")
        for layer, keys, values in zip(cache.layers, states[::2], states[1::2], strict=True):
            layer.keys, layer.values, layer.cumulative_length = keys.clone(), values.clone(), position.clone()
        out = model(input_ids=token, position_ids=position[None], past_key_values=cache, use_cache=True)
        return (out.logits[:, 0], *(t for layer in cache.layers for t in (layer.keys, layer.values)))

    run = capture(step)
    with torch.no_grad():
        whole = model(ids).logits.numpy()
        states = [torch.zeros(2, 2, length, 8) for _ in range(4)]
        for at in range(6):
            logits, *states = run(ids[:, at : at + 1].contiguous(), torch.tensor([at]), *states)
            same(numbers([logits]), [whole[:, at]])


# ---- MindSpore's other tools
def test_an_exported_graph_gives_the_models_results_on_other_inputs(tmp_path):
    model = _model("llama")

    def logits(ids):
        return model(input_ids=ids, use_cache=False).logits

    path = export_mindir(logits, _tokens(), file_name=tmp_path / "llama")
    assert [p.name for p in tmp_path.iterdir()] == [path.name] == ["llama.mindir"]
    run = mindspore.nn.GraphCell(mindspore.load(str(path)))
    with torch.no_grad():
        for ids in (_tokens(), _tokens()):
            same(numbers([run(mindspore.Tensor(ids.numpy()))]), numbers([logits(ids)]))


@alone
def test_gradient_checkpointing_gives_the_same_gradients_in_every_way_of_taking_them(trained):
    model, loss, batches = trained
    ids, _, grads = batches[0]
    parameters = model.trainable_params()
    wanted = [grads[p.name] for p in parameters]
    model.zero_grad()
    model.gradient_checkpointing_enable()
    try:
        loss(ids).backward()
        same([p.grad.numpy() for p in parameters], wanted)
        model.zero_grad()
        same(numbers(mindspore.grad(loss, None, parameters)(ids)), wanted)
        assert all(p.grad is None for p in parameters)
        same(numbers(mindspore.grad(capture(lambda ids: loss(ids)), None, parameters)(ids)), wanted)
    finally:
        model.gradient_checkpointing_disable()
        model.zero_grad()


def test_a_refusal_that_the_captured_function_swallows_comes_up_at_its_end():
    """MindSpore would otherwise finish a graph that it no longer has."""

    def careless(x):
        y = x * 2
        with contextlib.suppress(RuntimeError):
            y.sum().item()
        return y + 1

    with pytest.raises(_ms.CaptureError, match="needed on the host"):
        capture(careless)(_floats(3))
    x = _floats(3)
    same(numbers([capture(lambda x: x * 5)(x)]), [x.numpy() * 5])
