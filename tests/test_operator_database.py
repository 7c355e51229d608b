"""A fixed sample of PyTorch's operator database, and the machinery that runs all of it.

`hf-ascend conformance operators` runs every operator in use on all samples; here are some of each family, on a few.
"""

import json
import os
import time

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's own, about the database's odd samples
SAMPLE = """
add mul Tensor.add_ Tensor.__getitem__ where Tensor.masked_fill clamp pow div remainder floor_divide maximum
exp rsqrt tanh Tensor.round isnan logical_not bitwise_and Tensor.to
sum mean var max argmax amax prod cumsum cummax logsumexp softmax log_softmax linalg.vector_norm Tensor.median
Tensor.view Tensor.expand Tensor.transpose Tensor.unflatten cat stack Tensor.repeat repeat_interleave flip roll tril
gather scatter Tensor.scatter_add_ index_select Tensor.index_copy_ topk nonzero
matmul einsum bmm nn.functional.linear nn.functional.scaled_dot_product_attention
nn.functional.gelu nn.functional.silu nn.functional.layer_norm nn.functional.group_norm nn.functional.batch_norm
nn.functional.embedding nn.functional.cross_entropy nn.functional.ctc_loss nn.functional.dropout nn.functional.pad
nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d nn.functional.conv_transpose2d nn.functional.unfold
nn.functional.avg_pool2d nn.functional.adaptive_avg_pool2d nn.functional.interpolate nn.functional.grid_sample
fft.rfft fft.irfft fft.fftn stft istft polar view_as_complex
zeros arange eye Tensor.normal_ Tensor.uniform_ multinomial
""".split()


@pytest.fixture(scope="module")
def database():
    """The database and its checks, imported once: that takes ten seconds."""
    from hf_ascend.conformance import operators_check, operators_names

    return operators_check, operators_names


def planned(names, name):
    return names.Planned(name, 1, *names._entries(name))


@pytest.mark.parametrize("name", SAMPLE)
def test_operator_agrees_with_pytorch_on_its_database(database, name):
    check, names = database
    found = check.check(planned(names, name), limit=3)
    assert found["calls"]
    assert not found["failures"], found["failures"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda torch, x: torch.exp(x) * 1.001, "values"),
        (lambda torch, x: torch.exp(x).double(), "dtype"),
        (lambda torch, x: torch.exp(x)[None], "shape"),
        (lambda torch, x: torch.exp(x.detach()), "requires_grad"),
        (lambda torch, x: torch.exp(x) + (x - x.detach()), "gradient"),
        (lambda torch, x: torch.exp(x).numpy(force=True), "not a tensor"),
    ],
)
def test_a_wrong_operator_fails(database, monkeypatch, wrong, said):
    check, names = database
    from hf_ascend import torch

    right = torch.exp
    monkeypatch.setattr(check, "_ours", lambda name: lambda x: wrong(type("T", (), {"exp": staticmethod(right)}), x))
    found = check.check(planned(names, "exp"), limit=3)
    assert any(said in text for text in found["failures"]), found["failures"]


def test_a_refusal_that_is_missing_fails(database, monkeypatch):
    check, names = database
    monkeypatch.setattr(check, "_ours", lambda name: lambda *args, **kwargs: None)
    found = check.check(planned(names, "gather"), limit=1)
    assert found["checks"]["errors"]["failed"]


def test_every_operator_in_use_is_in_the_kept_results(database):
    """Nothing is dropped in silence, those without samples neither."""
    _, names = database
    from hf_ascend.conformance import operators

    kept = json.loads(operators.RESULTS.read_text())
    if tuple(kept["packages"]) != names.packages():
        pytest.skip(f"the kept results are of {kept['packages']}, installed are {names.packages()}")
    in_use = {p.name for p in names.plan(names.used())}
    assert sorted(in_use ^ set(kept["operators"])) == []


def test_the_document_is_made_of_the_kept_results():
    from hf_ascend.conformance import operators, operators_report

    assert operators_report.DOCUMENT.read_text() == operators_report.text(json.loads(operators.RESULTS.read_text()))


# ---- processes
def _crashing(pipe, limit):
    """A worker that dies of one operator, hangs on another, and answers for the rest."""
    pipe.send("ready")
    while (planned := pipe.recv()) is not None:
        if planned.name == "crash":
            os._exit(11)
        if planned.name == "hang":
            time.sleep(1000)
        pipe.send({"checks": {"float32": {"passed": 1, "known": 0, "failed": 0}}, "failures": [], "seconds": 0.0})


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_and_a_hang_cost_one_operator_each(jobs):
    from hf_ascend.conformance import operators, operators_names

    everything = [operators_names.Planned(n, 1, (), "function") for n in ("a", "crash", "b", "hang", "c")]
    found = {p.name: r for p, r in operators.run(everything, jobs, seconds=1, serve=_crashing)}
    assert {n: operators.verdict(r) for n, r in found.items()} == {
        "a": "passed", "crash": "broken", "b": "passed", "hang": "broken", "c": "passed",
    }  # fmt: skip
    assert "exit code 11" in found["crash"]["broken"]
    assert "more than 1 s" in found["hang"]["broken"]
