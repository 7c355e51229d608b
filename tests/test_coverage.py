"""What the stand-in covers of torch, as transformers uses it, must not shrink."""

import pytest

from hf_ascend.conformance import coverage


def test_no_name_that_transformers_uses_got_worse():
    found = coverage.report("transformers")
    assert coverage.worse_than_baseline(found) == []
    counts = coverage.summary(found)
    assert counts["names"]["native"] > 400
    assert counts["methods"]["native"] > 150


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("nn.functional.softmax", "native"),
        ("Tensor.softmax", "native"),
        ("linalg.det", "fallback"),
        ("Tensor.frexp", "fallback"),
        ("Tensor.svd", "fallback"),  # mindspore.Tensor has a method of that name, which is not what runs
        ("fx.GraphModule", "absent"),
        ("no_such_name", "missing"),
    ],
)
def test_a_name_is_told_by_what_would_run(name, state):
    assert coverage.status(name) == state


def test_an_absent_package_is_named():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        coverage.report("no_such_package")
