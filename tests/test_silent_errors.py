"""Errors that layers of this kind have shipped without anyone noticing: each test fails if its error comes back."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import hf_ascend
from hf_ascend import torch as htorch
from models import MODELS, inputs, labels, tensors


# ---- bfloat16 by way of float16
def test_bfloat16_keeps_what_float16_cannot_hold():
    values = [1e20, -3e38, 1e-20, 1e-30, 65536.0, 6e-8, 1.0]
    want = torch.tensor(values).bfloat16().float().numpy()
    made = {
        "cast": htorch.tensor(values).to(htorch.bfloat16),
        "tensor": htorch.tensor(values, dtype=htorch.bfloat16),
        "method": htorch.tensor(values).bfloat16(),
        "from float64": htorch.tensor(values, dtype=htorch.float64).to(htorch.bfloat16),
        "foreign": htorch.as_tensor(torch.tensor(values).bfloat16()),
    }
    for how, x in made.items():
        assert x.dtype is htorch.bfloat16, how
        assert (x.float().numpy() == want).all(), f"{how}: {x.float().numpy()} for {want}"


def test_bfloat16_weights_arrive_unchanged(tmp_path):
    """Through a checkpoint on disk, into float32 and into bfloat16, and back to disk."""
    import transformers

    row = MODELS["llama"]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**row.config)).to(torch.bfloat16)
    with torch.no_grad():
        model.lm_head.weight[0, :3] = torch.tensor([1e20, 1e-30, -3e38])
    model.save_pretrained(tmp_path / "a")
    want = {k: v.float().numpy() for k, v in model.state_dict().items()}
    wide = hf_ascend.LlamaForCausalLM.from_pretrained(tmp_path / "a", dtype="float32")
    narrow = hf_ascend.LlamaForCausalLM.from_pretrained(tmp_path / "a", dtype=htorch.bfloat16)
    narrow.save_pretrained(tmp_path / "b")
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.bfloat16)
    for key, value in want.items():
        assert (wide.state_dict()[key].numpy() == value).all(), key
        assert (again.state_dict()[key].float().numpy() == value).all(), key
    assert wide.lm_head.weight.dtype is htorch.float32


# ---- a backward pass that does nothing
def test_training_lowers_the_loss_exactly_as_pytorch_does(pair):
    both = pair("llama", seed=21)
    arrays = {**inputs("llama"), **labels("llama")}
    losses = {}
    for key, model, lib in (("ours", both.ours, htorch), ("theirs", both.theirs, torch)):
        optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
        losses[key] = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = model(**tensors(arrays, lib)).loss
            loss.backward()
            assert all(p.grad is not None for p in model.parameters())
            optimizer.step()
            losses[key].append(loss.item())
    assert losses["ours"][-1] < losses["ours"][0] - 0.5, f"the loss does not fall: {losses['ours']}"
    assert np.allclose(losses["ours"], losses["theirs"], rtol=1e-4)


def test_backward_without_a_graph_is_an_error():
    x = htorch.ones(3, requires_grad=True)
    with htorch.no_grad():
        y = (x * 2).sum()
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        (x.detach() * 2).sum().backward()


def test_gradients_accumulate_until_they_are_cleared():
    x = htorch.tensor([1.0, 2.0], requires_grad=True)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * times, 4.0 * times]
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


# ---- embeddings
def test_the_padding_row_gets_no_gradient():
    weight = np.random.RandomState(0).randn(6, 4).astype(np.float32)
    ids = [[0, 1, 5, 0], [3, 3, 0, 2]]
    grads = {}
    for key, lib in (("ours", htorch), ("theirs", torch)):
        layer = lib.nn.Embedding(6, 4, padding_idx=0)
        with lib.no_grad():
            layer.weight.copy_(lib.tensor(weight))
        out = layer(lib.tensor(ids))
        assert np.array(out.detach().numpy())[0, 0].any(), "the padding row's own value is still what is looked up"
        (out * out).sum().backward()
        grads[key] = np.array(layer.weight.grad.numpy())
    assert not grads["ours"][0].any()
    assert grads["ours"][3].any()
    assert np.allclose(grads["ours"], grads["theirs"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gpt2", "transformer.wpe.weight"),
        ("bert", "bert.embeddings.position_embeddings.weight"),
        ("opt", "model.decoder.embed_positions.weight"),
    ],
)
def test_position_embeddings_get_their_gradient(pair, name, key):
    model = pair(name).ours
    model(**tensors({**inputs(name), **labels(name)}, htorch)).loss.backward()
    grad = dict(model.named_parameters())[key].grad.numpy()
    assert (np.abs(grad).max(1) > 0).sum() >= 9, "positions that were used have no gradient"


# ---- randomness
def test_manual_seed_reproduces_everything_random():
    def draw():
        layer = htorch.nn.Linear(4, 4)
        return np.concatenate(
            [
                np.array(v.detach().numpy(), np.float64).reshape(-1)
                for v in (
                    htorch.randn(5),
                    htorch.rand(5),
                    htorch.randint(0, 100, (5,)),
                    htorch.randperm(7),
                    htorch.empty(4).normal_(),
                    htorch.empty(4).uniform_(),
                    htorch.bernoulli(htorch.full((9,), 0.5)),
                    layer.weight,
                    htorch.nn.functional.dropout(htorch.ones(20), 0.5),
                    htorch.multinomial(htorch.ones(3, 9), 4),
                )
            ]
        )

    htorch.manual_seed(5)
    first, second = draw(), draw()
    htorch.manual_seed(5)
    assert (draw() == first).all()
    assert (first != second).any()


def test_random_streams_leave_pytorchs_alone():
    torch.manual_seed(1)
    want = torch.randn(4)
    torch.manual_seed(1)
    htorch.manual_seed(9)
    htorch.randn(100)
    assert torch.equal(torch.randn(4), want)


# ---- optimisers
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        ("Adam", {"lr": 0.05}),
        ("AdamW", {"lr": 0.05, "weight_decay": 0.1}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
        ("Adagrad", {"lr": 0.1}),
    ],
    ids=["momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"],
)
def test_optimisers_keep_their_state_between_steps(kind, options):
    start = np.linspace(-1, 1, 6).astype(np.float32)
    path = {}
    for key, lib in (("ours", htorch), ("theirs", torch)):
        p = lib.nn.Parameter(lib.tensor(start))
        optimizer = getattr(lib.optim, kind)([p], **options)
        path[key] = []
        for step in range(6):
            optimizer.zero_grad()
            (p * p * (step + 1)).sum().backward()
            optimizer.step()
            path[key].append(np.array(p.detach().numpy()))
    assert np.allclose(path["ours"], path["theirs"], rtol=1e-5, atol=1e-6)


def test_momentum_buffers_are_not_zeroed():
    p = htorch.nn.Parameter(htorch.zeros(2))
    optimizer = htorch.optim.SGD([p], lr=1.0, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        p.sum().backward()
        optimizer.step()
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1.75, 1.75]


# ---- gradient checkpointing
@pytest.mark.parametrize("name", ["llama", "t5", "bert", "vit"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(pair, name, reentrant):
    model = pair(name).ours
    batch = tensors({**inputs(name), **labels(name)}, htorch)
    model.train()
    dropouts = [m for m in model.modules() if isinstance(m, htorch.nn.Dropout)]
    rates = [m.p for m in dropouts]
    try:
        for m in dropouts:
            m.p = 0.0
        for m in model.modules():
            for field in ("dropout", "attention_dropout", "dropout_rate", "dropout_prob"):
                if isinstance(getattr(m, field, None), float):
                    setattr(m, field, 0.0)

        def gradients():
            model.zero_grad(set_to_none=True)
            model(**batch).loss.backward()
            return {k: np.array(p.grad.numpy()) for k, p in model.named_parameters() if p.grad is not None}

        want, once = _counted(model, gradients)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        if reentrant and name != "vit":
            model.enable_input_require_grads()
        got, recomputed = _counted(model, gradients)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
        for m, p in zip(dropouts, rates, strict=True):
            m.p = p
    assert recomputed > once + 4, "nothing is computed again: checkpointing is not in force"
    assert len(want) > 5
    scale = max(np.abs(g).max() for g in want.values())
    for key, g in want.items():
        assert key in got, f"{key} has no gradient with checkpointing"
        assert np.abs(got[key] - g).max() <= 1e-4 * max(np.abs(g).max(), 1e-2 * scale), key


def _counted(model, run):
    """What `run` returns, and how many modules computed during it."""
    count = [0]
    handles = [m.register_forward_hook(lambda *_: count.__setitem__(0, count[0] + 1)) for m in model.modules()]
    result = run()
    for h in handles:
        h.remove()
    return result, count[0]


# ---- views and in-place writes, again and again
def test_shift_right_is_right_every_time(pair):
    model = pair("t5").ours
    for i in range(50):
        ids = np.random.RandomState(i).randint(3, 100, (3, 5 + i % 7))
        ids[0, -2:] = -100
        want = np.concatenate([np.zeros((3, 1), np.int64), ids[:, :-1]], 1)
        want[want == -100] = 0
        got = model._shift_right(htorch.tensor(ids))
        keep = [np.full(200, i) for _ in range(20)]  # memory that a freed tensor's reader would see
        assert (got.numpy() == want).all(), f"run {i}"
        assert len(keep) == 20


def test_shift_tokens_of_other_models_every_time():
    from hf_ascend.transformers.models.bart.modeling_bart import shift_tokens_right

    for i in range(50):
        ids = np.random.RandomState(i).randint(3, 100, (2, 6))
        got = shift_tokens_right(htorch.tensor(ids), 0, 1).numpy()
        assert (got == np.concatenate([[[1], [1]], ids[:, :-1]], 1)).all()


def test_views_outlive_their_base_and_share_its_memory():
    for i in range(50):
        view = htorch.arange(12).reshape(3, 4)[1:, 1:3]
        rest = [htorch.full((12,), -1) for _ in range(5)]
        assert view.tolist() == [[5, 6], [9, 10]]
        assert len(rest) == 5
        base = htorch.zeros(3, 4)
        base[1:, 1:3].add_(i)
        base.view(-1)[0] = 7
        base[:, 3] = htorch.tensor([1.0, 2.0, 3.0])
        want = np.zeros((3, 4), np.float32)
        want[1:, 1:3] += i
        want[0, 0], want[:, 3] = 7, [1, 2, 3]
        assert (base.numpy() == want).all()


def _in_place_cases(lib):
    def plain(a, b):
        h = a * 2 + 1
        h += b
        return h.relu()

    def aliases(a, b):
        h, r = a * 2, a * 1
        h += r
        h *= 2
        return h * r

    def parts(a, b):
        h = a * 2
        h[0] = b[0]
        h[:, 1] *= 3
        return h * h

    def through_a_view(a, b):
        h = a * 2
        h[0].mul_(a[1])
        return h * b

    def copied(a, b):
        h, v = a * 2, a * 100
        h.copy_(v)
        h += 1
        return h * v

    def into_zeros(a, b):
        h = lib.zeros(2, 3)
        h[:, :2] += a[:, 1:]
        h.view(-1)[1:3].mul_(a.view(-1)[:2])
        return h * h

    def indexed(a, b):
        h = lib.zeros(4, 3)
        h.index_add_(0, lib.tensor([1, 1]), a)
        h.index_copy_(0, lib.tensor([0]), a[1:] * 2)
        return h * h

    def reshaped(a, b):
        h = a * 2
        h.unsqueeze_(0)
        h.transpose_(1, 2)
        h.masked_fill_(h > 1, 5.0)
        return h * h

    return [plain, aliases, parts, through_a_view, copied, into_zeros, indexed, reshaped]


@pytest.mark.parametrize("case", range(8), ids=[f.__name__ for f in _in_place_cases(torch)])
def test_recorded_in_place_writes_count(case):
    rng = np.random.RandomState(3)
    x, y = (rng.randn(2, 3).astype(np.float32) for _ in range(2))
    results = []
    for lib in (torch, htorch):
        a = lib.tensor(x, requires_grad=True)
        out = _in_place_cases(lib)[case](a, lib.tensor(y))
        (out * out).sum().backward()
        results.append((np.array(out.detach().numpy()), np.array(a.grad.numpy())))
    assert np.abs(results[0][1]).max() > 0
    for want, got in zip(*results, strict=True):
        assert np.allclose(got, want, rtol=1e-5, atol=1e-6)


# ---- versions
def test_versions_compare_as_versions():
    from packaging.version import Version

    assert Version("2.10") >= Version("2.7")
    assert hf_ascend.transformers.utils.is_torch_available()
    assert Version(str(htorch.__version__)) >= Version("2.7")
    assert htorch.torch_version.TorchVersion("2.10") >= htorch.torch_version.TorchVersion("2.7")
    assert htorch.torch_version.TorchVersion("2.10.0") > "2.9"


def test_no_code_of_ours_compares_versions_as_strings():
    root = Path(hf_ascend.__file__).parents[1]
    texts = re.compile(r"__version__\s*(?:[<>]=?)|[<>]=?\s*\w+(?:\.\w+)*\.__version__")
    found = [
        f"{path.relative_to(root)}:{n}: {line.strip()}"
        for folder in ("hf_ascend", "shims", "kernels", "conformance")
        for path in sorted((root / folder).rglob("*.py"))
        for n, line in enumerate(path.read_text().splitlines(), 1)
        if texts.search(line) and "Version(" not in line and "parse(" not in line
    ]
    assert not found, found
