"""Complex tensors: PyTorch's values and gradients, as rotary embeddings in complex form need them."""

import numpy as np
import pytest
import torch

from hf_ascend import torch as standin

CASES = {
    "rotary": lambda t, x, y: t.view_as_real(
        t.view_as_complex(x.float().reshape(2, 3, 2, 2)) * t.polar(t.ones(3, 1), y.abs().sum(-1)[0][:, None])
    ).flatten(2),
    "broadcast product": lambda t, x, y: (t.complex(x, y) * t.complex(y, x)[:1]).abs(),
    "quotient": lambda t, x, y: t.view_as_real(t.complex(x, y) / t.complex(y + 3, x)),
    "real times complex": lambda t, x, y: (x * t.complex(y, x)).imag,
    "difference of number": lambda t, x, y: (t.complex(x, y) - (1 + 2j)).real * y,
    "conjugate": lambda t, x, y: t.view_as_real((t.complex(x, y).conj() * t.complex(y, y)).resolve_conj()),
    "shapes": lambda t, x, y: t.view_as_real(
        t.cat([t.complex(x, y).transpose(0, 1)[1:], t.complex(y, x).permute(1, 0, 2)]).reshape(-1) * (2 + 1j)
    ),
    "polar": lambda t, x, y: t.view_as_real(t.polar(x.abs(), y) + t.complex(x, y).sum(0)),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_match(case):
    rng = np.random.RandomState(0)
    arrays = [rng.standard_normal((2, 3, 4)).astype(np.float32) for _ in range(2)]
    found = []
    for t in (torch, standin):
        x, y = (t.tensor(a, requires_grad=True) for a in arrays)
        out = CASES[case](t, x, y)
        weights = t.arange(out.numel(), dtype=t.float32).reshape(out.shape)
        (out * weights).sum().backward()
        with t.no_grad():
            plain = CASES[case](t, x, y)
        found.append([v.detach().numpy() for v in (out, plain, x.grad, y.grad)])
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_wrong_input_is_refused_with_pytorchs_words():
    with pytest.raises(RuntimeError, match="last dimension of size 2"):
        standin.view_as_complex(standin.ones(3))
    with pytest.raises(RuntimeError, match="complex tensors"):
        standin.view_as_real(standin.ones(3))
    with pytest.raises(RuntimeError, match="non-complex"):
        standin.imag(standin.ones(3))
