"""The stand-in's tensors: the types, views and in-place writes of torch, held against real torch."""

import copy
import pickle

import mindspore
import numpy as np
import pytest
import torch as real

from hf_ascend import torch


def both(make):
    """The same computation in real torch and in the stand-in, as numpy arrays."""
    return np.asarray(make(real).detach()), np.asarray(make(torch).detach())


def same(make):
    want, got = both(make)
    assert want.dtype == got.dtype
    assert want.shape == got.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_a_tensor_is_a_mindspore_tensor_with_torch_attributes():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert isinstance(x, mindspore.Tensor)
    assert isinstance(x, torch.Tensor)
    assert x.shape == (1, 3)
    assert x.size(1) == 3
    assert x.size() == (1, 3)
    assert x.size == 3
    assert x.dtype == torch.float32 == mindspore.float32
    assert str(x.dtype) == "torch.float32"
    assert x.device.type == "cpu"
    assert x.numel() == 3
    assert x.shape.numel() == 3
    assert x.tolist() == [[1.0, 2.0, 3.0]]
    assert x[0, 1].item() == 2.0
    assert (np.asarray(x) == x.numpy()).all()
    assert (x.asnumpy() == x.numpy()).all()


def test_mindspore_functions_take_the_standin_tensors():
    x = torch.tensor([1.0, 4.0])
    assert mindspore.ops.sqrt(x).asnumpy().tolist() == [1.0, 2.0]
    assert mindspore.ops.cast(x, x.dtype).dtype == mindspore.float32


@pytest.mark.parametrize(
    "write",
    [
        lambda t, x: x[1].add_(1),
        lambda t, x: x[:, 1:3].mul_(3),
        lambda t, x: x.t()[0].fill_(7),
        lambda t, x: x.view(-1)[2:5].zero_(),
        lambda t, x: x.transpose(0, 1)[1:3].sub_(t.arange(6.0).reshape(2, 3)),
        lambda t, x: x.narrow(1, 2, 2).copy_(t.ones(3, 2)),
        lambda t, x: x.unsqueeze(0).expand(1, 3, 4)[0, 0].exp_(),
        lambda t, x: x.__setitem__((slice(None), t.tensor([0, 2])), t.tensor([[1.0, 2.0]])),
        lambda t, x: x.__setitem__(x > 5, -1.0),
        lambda t, x: x.index_add_(0, t.tensor([0, 0, 2]), t.ones(3, 4)),
        lambda t, x: x.scatter_(1, t.tensor([[0], [1], [2]]), 9.0),
        lambda t, x: x.masked_fill_(x < 3, 0.5),
        lambda t, x: x.diagonal().fill_(4),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_writes_through_views_reach_the_base(write, recorded):
    def run(t):
        leaf = t.arange(12.0).reshape(3, 4).clone().requires_grad_(recorded)
        x = leaf * 1 if recorded else leaf
        write(t, x)
        return x

    same(run)


@pytest.mark.parametrize(
    "write",
    [
        lambda t, x, w: x[:, 1].add_(w),
        lambda t, x, w: x.__setitem__((slice(None), 2), w * 2),
        lambda t, x, w: x.view(-1)[3:6].mul_(w),
        lambda t, x, w: x.mul_(w.unsqueeze(1)),
        lambda t, x, w: x.index_copy_(1, t.tensor([1]), w.unsqueeze(1)),
    ],
)
def test_gradients_flow_through_recorded_writes(write):
    def run(t):
        leaf = t.arange(12.0).reshape(3, 4).clone().requires_grad_(True)
        w = t.tensor([2.0, 3.0, 4.0], requires_grad=True)
        x = leaf * 2
        write(t, x, w)
        (x * x).sum().backward()
        return t.cat([leaf.grad.reshape(-1), w.grad])

    same(run)


def test_a_leaf_that_requires_grad_refuses_in_place_writes():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x.add_(1)
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 2.0]
    assert x.requires_grad


def test_type_promotion_is_torchs():
    cases = [
        lambda t: t.tensor([1, 2]) + 1.5,
        lambda t: t.tensor([1, 2]) / 2,
        lambda t: t.tensor([True, False]) + 1,
        lambda t: t.tensor([1.0], dtype=t.float16) * t.tensor(2.0),
        lambda t: t.tensor([1, 2], dtype=t.int32) * t.tensor([1.0, 2.0]),
        lambda t: t.tensor([1, 2], dtype=t.uint8) - t.tensor([3, 4], dtype=t.int8),
        lambda t: 2 ** t.tensor([1, 2]),
        lambda t: 7 // t.tensor([2, -2]),
        lambda t: t.tensor([5, -5]) % 3,
        lambda t: t.tensor([1, 2]).sum(),
        lambda t: t.tensor([True, True]).cumsum(0),
    ]
    for case in cases:
        same(case)


def test_bfloat16_keeps_the_range_of_float32():
    x = torch.tensor([1e20, 1e-20, 3.0]).to(torch.bfloat16)
    want = real.tensor([1e20, 1e-20, 3.0]).to(real.bfloat16)
    assert x.dtype is torch.bfloat16
    assert (x.float().numpy() == want.float().numpy()).all()


def test_dtypes_equal_torchs_and_mindspores():
    for name in ("float32", "float16", "bfloat16", "int64", "bool", "uint8"):
        ours = getattr(torch, name)
        assert ours == getattr(real, name)
        assert isinstance(ours, torch.dtype)
        assert ours == getattr(mindspore, name if name != "bool" else "bool_")
        assert pickle.loads(pickle.dumps(ours)) is ours
        assert copy.deepcopy(ours) is ours
    assert torch.float32 != real.float16
    assert torch.finfo(torch.bfloat16).max == real.finfo(real.bfloat16).max


def test_devices_by_any_name_are_the_one_there_is():
    assert torch.zeros(2).to("cuda").device == torch.zeros(2).device
    assert torch.device("npu:1").index == 1
    assert torch.device("cuda", 0) == "cuda:0"
    with pytest.raises(RuntimeError, match="toaster"):
        torch.device("toaster")
    assert not torch.cuda.is_available()


def test_meta_tensors_have_shape_and_no_values():
    with torch.device("meta"):
        layer = torch.nn.Linear(10_000, 10_000)
    assert layer.weight.is_meta
    assert layer.weight.shape == (10_000, 10_000)
    with pytest.raises(NotImplementedError, match="no data"):
        layer.weight.to("cpu")


def test_pickle_and_deepcopy_keep_values_and_flags():
    p = torch.nn.Parameter(torch.arange(3.0))
    q = pickle.loads(pickle.dumps(p))
    r = copy.deepcopy(p)
    for x in (q, r):
        assert isinstance(x, torch.nn.Parameter)
        assert x.requires_grad
        assert x.tolist() == [0, 1, 2]
    r.data.add_(1)
    assert p.tolist() == [0, 1, 2]


def test_random_numbers_are_torchs_for_the_same_seed_and_leave_real_torch_alone():
    state = real.get_rng_state()
    torch.manual_seed(5)
    ours = [torch.randn(4), torch.rand(3), torch.randint(0, 100, (5,)), torch.randperm(6), torch.nn.Linear(3, 2).weight]
    assert (real.get_rng_state() == state).all()
    real.manual_seed(5)
    theirs = [real.randn(4), real.rand(3), real.randint(0, 100, (5,)), real.randperm(6), real.nn.Linear(3, 2).weight]
    for a, b in zip(ours, theirs, strict=True):
        assert (np.asarray(a.detach()) == b.detach().numpy()).all()
    real.set_rng_state(state)
    generator = torch.Generator().manual_seed(1)
    assert (
        torch.rand(2, generator=generator).tolist() == real.rand(2, generator=real.Generator().manual_seed(1)).tolist()
    )


def test_an_unknown_operator_names_itself():
    with pytest.raises(AttributeError, match="no_such_thing"):
        torch.no_such_thing(1)
    with pytest.raises(AttributeError, match="no_such_method"):
        torch.ones(1).no_such_method()


def test_fallbacks_are_counted_and_can_be_forbidden():
    from hf_ascend import runtime
    from hf_ascend.runtime.counters import FallbackForbiddenError

    runtime.reset_fallbacks()
    x = torch.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    torch.linalg.inv(x).sum().backward()
    want = real.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    real.linalg.inv(want).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), want.grad.numpy(), rtol=1e-6)
    assert runtime.fallbacks() == {"linalg.inv": 1}
    runtime.forbid_fallbacks()
    try:
        with pytest.raises(FallbackForbiddenError, match="linalg.inv.*test_torch_tensor.py"):
            torch.linalg.inv(x)
    finally:
        runtime.forbid_fallbacks(False)


def test_torch_save_and_load_cross_between_the_two(tmp_path):
    torch.save({"a": torch.arange(3), "b": [torch.ones(2)]}, tmp_path / "ours.pt")
    theirs = real.load(tmp_path / "ours.pt")
    assert theirs["a"].tolist() == [0, 1, 2]
    assert theirs["b"][0].tolist() == [1, 1]
    real.save({"w": real.full((2,), 4.0)}, tmp_path / "theirs.pt")
    assert torch.load(tmp_path / "theirs.pt")["w"].tolist() == [4, 4]


@pytest.mark.parametrize(
    "name", ["bfloat16", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "complex64"]
)
def test_finfo_is_the_dtypes_own(name):
    ours, theirs = torch.finfo(getattr(torch, name)), real.finfo(getattr(real, name))
    for key in ("min", "max", "eps", "tiny", "smallest_normal", "resolution", "bits"):
        assert getattr(ours, key) == getattr(theirs, key), key


def test_as_subclass_shares_memory_and_gradients():
    class Kind(torch.Tensor):
        pass

    x = torch.ones(2, 3, requires_grad=True)
    kind = x.as_subclass(Kind)
    assert type(kind) is Kind
    assert type(x) is torch.Tensor
    assert kind.data_ptr() == x.data_ptr()
    assert type(kind.as_subclass(torch.Tensor)) is torch.Tensor
    (kind * 3).sum().backward()
    assert x.grad.tolist() == [[3.0] * 3] * 2
    with pytest.raises(TypeError, match="subclass of Tensor"):
        x.as_subclass(dict)


def test_aminmax_and_its_gradient():
    data = np.random.RandomState(0).randn(3, 4).astype(np.float32)
    for options in ({}, {"keepdim": True}, {"dim": 1}, {"dim": -2, "keepdim": True}):

        def gradient(t, options=options):
            x = t.tensor(data, requires_grad=True)
            low, high = t.aminmax(x, **options)
            (low.sum() * 2 + high.sum()).backward()
            return x.grad

        same(lambda t, options=options: t.aminmax(t.tensor(data), **options).min)
        same(lambda t, options=options: t.aminmax(t.tensor(data), **options).max)
        same(gradient)
