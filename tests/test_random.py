"""Random numbers follow PyTorch's for the same seed, also where memory is not in the order of the dimensions."""

import numpy as np
import pytest
import torch

from hf_ascend import torch as standin

CASES = {
    "randn_like": lambda t, x: t.randn_like(x),
    "rand_like": lambda t, x: t.rand_like(x),
    "randint_like": lambda t, x: t.randint_like(x, 9),
    "bernoulli": lambda t, x: t.bernoulli(x / 2),
    "dropout": lambda t, x: t.nn.functional.dropout(x, 0.5, True),
    "dropout with gradients": lambda t, x: t.nn.functional.dropout(x.detach().requires_grad_(), 0.5, True).detach(),
    "gumbel_softmax": lambda t, x: t.nn.functional.gumbel_softmax(x),
    "normal_": lambda t, x: x.normal_(),
    "uniform_": lambda t, x: x.uniform_(2, 3),
    "exponential_": lambda t, x: x.exponential_(),
    "normal": lambda t, x: t.normal(x, 2.0),
}
LAYOUTS = {
    "contiguous": lambda t: t.ones(5, 7, 3),
    "transposed": lambda t: t.ones(5, 7, 3).transpose(0, 2),
    "sliced": lambda t: t.ones(5, 7, 3)[:, ::2],
    "channels permuted": lambda t: t.ones(2, 3, 4, 5).permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_draws_are_pytorchs_in_every_layout(case, layout):
    drawn = []
    for t in (torch, standin):
        with torch.random.fork_rng():
            t.manual_seed(11)
            drawn.append(np.array(CASES[case](t, LAYOUTS[layout](t)).numpy()))
    np.testing.assert_allclose(drawn[1], drawn[0], rtol=1e-6, atol=1e-6)
