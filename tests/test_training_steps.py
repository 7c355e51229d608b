"""Six ways to train give PyTorch's losses, step for step, and its weights."""

import pytest

from hf_ascend.conformance import training


@pytest.mark.parametrize("case", training.CASES)
def test_every_loss_and_the_final_weights_are_pytorchs(case):
    loss, weights, steps = training.run(case, 20)
    assert steps == 20
    assert loss <= training.LOSS
    assert weights <= training.WEIGHTS
