"""Triangular systems and bags of embeddings: PyTorch's values and gradients, without PyTorch's operators."""

import numpy as np
import pytest
import torch

from hf_ascend import runtime
from hf_ascend import torch as standin

SYSTEMS = [
    {"upper": False, "unitriangular": True},
    {"upper": True},
    {"upper": True, "left": False},
    {"upper": False, "left": False, "unitriangular": True},
]


@pytest.mark.parametrize("options", SYSTEMS, ids=str)
@pytest.mark.parametrize("batch", [(2, 3), (3,)], ids=["equal", "broadcast"])
def test_triangular_systems(options, batch):
    rng = np.random.RandomState(0)
    a0 = rng.randn(*batch, 5, 5).astype(np.float32) * 0.3 + np.eye(5, dtype=np.float32)
    b0 = rng.randn(2, 3, 5, 5).astype(np.float32)
    runtime.reset_fallbacks()
    found = []
    for t in (torch, standin):
        a, b = t.tensor(a0, requires_grad=True), t.tensor(b0, requires_grad=True)
        x = t.linalg.solve_triangular(a, b, **options)
        (x * x).sum().backward()
        with t.no_grad():
            again = t.linalg.solve_triangular(a, b, **options)
        found.append([v.detach().numpy() for v in (x, again, a.grad, b.grad)])
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
    assert not runtime.fallbacks()


@pytest.mark.parametrize("options", [{"mode": "sum"}, {"mode": "mean"}, {"mode": "mean", "padding_idx": 1}], ids=str)
def test_bags_of_embeddings(options):
    runtime.reset_fallbacks()
    found = []
    for t in (torch, standin):
        weight = (t.arange(40).float().view(10, 4) / 7).requires_grad_()
        bag = t.nn.functional.embedding_bag
        even = bag(t.tensor([[1, 2, 3], [4, 1, 9]]), weight, **options)
        uneven = bag(t.tensor([1, 2, 3, 5, 1]), weight, t.tensor([0, 2, 2]), **options)
        ((even * even).sum() + (uneven * 3).sum()).backward()
        found.append([v.detach().numpy() for v in (even, uneven, weight.grad)])
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert not runtime.fallbacks()
