"""The conformance harness: comparisons that can fail, results that survive a kill, reports, and one checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import models
from hf_ascend import torch as standin
from hf_ascend.conformance import build, catalog, compare, conditioning, known, parting, report, sweep


def tree(t, **changes):
    base = {"logits": t.arange(6.0).reshape(2, 3) + 1, "nested": ({"ids": t.tensor([1, 2])}, t.ones(2) * 5)}
    return {**base, **changes}


def test_equal_outputs_agree_and_are_counted():
    assert compare.outputs(tree(standin), tree(torch)) == compare.Agreement(3, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"logits": t.arange(6.0).reshape(2, 3) + 1.01}, "logits: differs by 0.01"),
        (lambda t: {"logits": t.arange(6.0).reshape(3, 2) + 1}, "shape"),
        (lambda t: {"logits": t.arange(6).reshape(2, 3) + 1}, "dtype"),
        (lambda t: {"logits": t.full((2, 3), float("nan"))}, "logits"),
        (lambda t: {"nested": ({"ids": t.tensor([1, 3])}, t.ones(2) * 5)}, "nested.0.ids: 50.00%"),
        (lambda t: {"more": t.ones(1)}, "structures differ"),
    ],
)
def test_every_kind_of_difference_is_a_mismatch(change, message):
    with pytest.raises(compare.MismatchError, match=message):
        compare.outputs(tree(standin, **change(standin)), tree(torch))


@pytest.mark.parametrize(
    "output", [{"x": torch.zeros(2)}, {"x": torch.tensor([1.0, float("nan")])}, {}, {"note": None}]
)
def test_a_reference_that_proves_nothing_is_refused(output):
    with pytest.raises(compare.ReferenceError):
        compare.outputs(output, output)


def test_a_gradient_that_is_missing_wrong_or_in_excess_is_a_mismatch():
    want = {"a": np.ones(3), "b": np.full(2, 2.0)}
    assert compare.gradients(want, want).tensors == 2
    for got, message in (
        ({"a": np.ones(3)}, "no gradient"),
        ({**want, "c": np.ones(1)}, "none in PyTorch"),
        ({**want, "b": np.full(2, 2.01)}, "gradient of b"),
        ({**want, "b": np.full(2, np.nan)}, "gradient of b"),
    ):
        with pytest.raises(compare.MismatchError, match=message):
            compare.gradients(got, want)


def test_a_vanishing_gradient_is_held_against_the_models_largest():
    want = {"a": np.ones(3), "bias": np.full(2, 1e-9)}
    assert compare.gradients({**want, "bias": np.full(2, 2e-9)}, want).error < 1
    with pytest.raises(compare.MismatchError):
        compare.gradients({**want, "bias": np.full(2, 1e-4)}, want)


def test_conditioning_tells_a_kink_from_an_error():
    class Kink(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))

        def forward(self):
            return torch.relu(self.weight.sum()) + self.weight[0]

    model = Kink()

    def gradient():
        model.zero_grad()
        model().backward()
        return {"weight": model.weight.grad.numpy().copy()}

    before = model.weight.detach().clone()
    assert conditioning.movement(model, gradient, compare.largest)["weight"] == 1  # the kink: on or off
    assert model.weight.equal(before)
    with torch.no_grad():
        model.weight[1] = -0.5
    assert conditioning.movement(model, gradient, compare.largest)["weight"] < 1e-6  # smooth there


def _llama():
    return models.build("llama").eval()


def test_the_first_departing_submodule_is_named_and_its_victims_are_not():
    first, second = _llama(), _llama()
    with torch.no_grad():
        second.model.layers[1].mlp.down_proj.weight[0] += 0.5
    ids = torch.arange(10)[None] + 5
    found = parting.first(first, second, lambda: first(ids), lambda: second(ids))
    assert (found.module, found.class_name, found.inputs_agree) == ("model.layers.1.mlp.down_proj", "Linear", True)
    assert parting.first(first, first, lambda: first(ids), lambda: first(ids)) is None


def test_an_exception_is_located_in_its_submodule():
    first, second = _llama(), _llama()

    def broken(*args, **kwargs):
        raise RuntimeError("no such kernel")

    first.model.layers[0].mlp.act_fn.forward = broken
    ids = torch.arange(10)[None] + 5
    found = parting.first(first, second, lambda: first(ids), lambda: second(ids))
    assert found.module == "model.layers.0.mlp.act_fn"
    assert "no such kernel" in found.message


def test_entries_are_selected_by_type_class_task_and_pattern():
    assert catalog.select(["qwen3"]) == [n for n in catalog.entries() if n.startswith("qwen3/")]
    assert catalog.select(["BertForMaskedLM"]) == ["bert/BertForMaskedLM"]
    assert set(catalog.select(["qwen*/*ForCausalLM"])) > {"qwen2/Qwen2ForCausalLM", "qwen3/Qwen3ForCausalLM"}
    assert len(catalog.select([])) == len(catalog.entries()) > 1500
    with pytest.raises(ValueError, match="--filter 'nonsense'"):
        catalog.select(["nonsense"])


def test_weights_and_inputs_are_the_same_each_time_and_every_parameter_matters():
    entry = catalog.entries()["bert/BertForMaskedLM"]
    one, two = (build.model(entry, 3).state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert all(v.std() > 0 for k, v in one.items() if v.is_floating_point() and v.numel() > 1)
    a, b, c = (build.materialize(entry.facts["inputs"], s)["input_ids"] for s in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def result(name, **statuses):
    return {
        "name": name,
        "seconds": 1.0,
        "checks": {c: {"status": statuses.get(c, "match"), "message": "m <b>|"} for c in catalog.CHECKS},
        "fallbacks": {"fft": 2},
    }


def test_results_survive_a_line_cut_off_by_a_kill_and_name_damage(tmp_path):
    kept = sweep.Results(tmp_path, "1.0")
    kept.add(result("bert/BertModel"))
    kept.add(result("llama/LlamaModel", forward="differ"))
    with kept.file.open("a") as out:
        out.write('{"name": "qwen2/Qw')
    again = sweep.Results(tmp_path, "1.0")
    assert set(again.found) == {"bert/BertModel", "llama/LlamaModel"}
    names = ["bert/BertModel", "llama/LlamaModel", "qwen2/Qwen2Model"]
    assert sweep.plan(names, again, False, False, catalog.CHECKS) == names[2:]
    assert sweep.plan(names, again, False, True, catalog.CHECKS) == names[1:2]
    assert sweep.plan(names, again, True, False, catalog.CHECKS) == names
    kept.file.write_text("garbage\n" + json.dumps(result("bert/BertModel")) + "\n")
    with pytest.raises(ValueError, match="line 1: not a result"):
        sweep.Results(tmp_path, "1.0")


def test_running_one_check_again_keeps_the_others(tmp_path):
    kept = sweep.Results(tmp_path, "1.0")
    kept.add(result("bert/BertModel", save="differ"))
    kept.add({**result("bert/BertModel"), "checks": {"save": {"status": "match"}}})
    kept.compact()
    found = sweep.Results(tmp_path, "1.0").found["bert/BertModel"]["checks"]
    assert {c: r["status"] for c, r in found.items()} == dict.fromkeys(catalog.CHECKS, "match")
    assert len(kept.file.read_text().splitlines()) == 1


def test_an_unexpected_failure_and_an_unexpected_pass_are_both_news(monkeypatch):
    rows = ({"entries": ["bert/*"], "checks": ["save"], "reason": "because"},)
    monkeypatch.setattr(known, "table", lambda: rows)
    news = known.News()
    news.judge(result("bert/BertModel", save="differ"))
    assert not news
    news.judge(result("bert/BertModel"))
    news.judge(result("llama/LlamaModel", forward="error"))
    assert news.passes == {("bert/BertModel", "save"): "because"}
    assert list(news.failures) == [("llama/LlamaModel", "forward")]


def test_every_known_failure_names_entries_checks_and_a_reason():
    for row in known.table():
        assert row["reason"].strip()
        assert set(row["checks"]) <= set(catalog.CHECKS)
        assert all(catalog.select([pattern]) for pattern in row["entries"])


def _crash(name, checks, seed):
    if name == "hang":
        import time

        time.sleep(60)
    if name == "crash":
        os._exit(3)
    return {"name": name, "seconds": 0.0, "checks": {c: {"status": "match"} for c in checks}, "fallbacks": {}}


def test_a_crash_or_a_hang_costs_one_entry():
    names = ["one", "crash", "hang", "two"]
    found = {r["name"]: r for r in sweep.run(names, ("forward",), 1, time_limit=3, work=_crash, start=_nothing)}
    statuses = {n: found[n]["checks"]["forward"]["status"] for n in names}
    assert statuses == {"one": "match", "crash": "crash", "hang": "timeout", "two": "match"}


def _nothing(*args):
    pass


def test_the_report_counts_what_applies_and_escapes_messages():
    results = {
        "bert/BertForMaskedLM": result("bert/BertForMaskedLM", generate="none"),
        "llama/LlamaForCausalLM": result("llama/LlamaForCausalLM", forward="differ"),
    }
    text = report.markdown(results, "5.0")
    assert "| forward | 1 | 2 | 50.0% |" in text
    assert "| generate | 1 | 1 | 100.0% |" in text
    assert "m &lt;b&gt;\\|" in text
    assert "| fft | 2 | bert, llama |" in text
    page = report.page(results, "5.0")
    assert "/*DATA*/" not in page
    data = json.loads(page.split("const data = ", 1)[1].split(";\n", 1)[0])
    assert [r["name"] for r in data["rows"]] == ["bert/BertForMaskedLM", "llama/LlamaForCausalLM"]


def _command(*args, cwd):
    environment = {**os.environ, "COLUMNS": "160"}
    command = [sys.executable, "-m", "hf_ascend", "conformance", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_a_checkpoint_is_compared_submodule_by_submodule(tmp_path):
    _llama().save_pretrained(tmp_path / "model")
    done = _command("--model", str(tmp_path / "model"), "--all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The outputs match" in done.stdout
    assert "model.layers.1.mlp.down_proj" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "nowhere"], "no config.json"),
        (["--filter", "nonsense"], "matches no entry"),
        (["--checks", "backward"], "--checks: backward"),
        (["--transformers-version", "newest"], "--transformers-version newest: not a version"),
        (["--report", "out.md", "--results", "empty"], "there are no results"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(args, message, tmp_path):
    done = _command(*args, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path(tmp_path).iterdir())


def test_transformers_is_the_release_that_results_are_for():
    kept = sweep.Results(Path(catalog.__file__).parent / "results", transformers.__version__)
    assert {r["transformers"] for r in kept.found.values()} <= {transformers.__version__}
