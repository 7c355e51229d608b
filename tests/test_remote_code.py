"""trust_remote_code: a model that brings its own configuration and modeling files, in a local folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from safetensors.numpy import save_file

import hf_ascend

CONFIGURATION = """\
from transformers import PretrainedConfig


class TinyConfig(PretrainedConfig):
    model_type = "tiny_remote"

    def __init__(self, width=6, words=11, **kwargs):
        self.width = width
        self.words = words
        super().__init__(**kwargs)
"""
LAYERS = """\
import torch
import torch.nn as nn


class Mix(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width))

    def forward(self, x):
        return torch.tanh(nn.functional.linear(x, self.weight))
"""
MODELING = """\
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_tiny import TinyConfig
from .layers import Mix


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.words, config.width)
        self.mix = Mix(config.width)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids=None, **kwargs):
        if input_ids is None:
            raise ValueError("tiny model without input")
        return BaseModelOutput(last_hidden_state=self.mix(self.words(input_ids)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model's folder; the cache of dynamic modules is shared, so each test has a folder name of its own."""
    at = tmp_path / f"tiny-{tmp_path.name}"
    at.mkdir()
    (at / "configuration_tiny.py").write_text(CONFIGURATION)
    (at / "layers.py").write_text(LAYERS)
    (at / "modeling_tiny.py").write_text(MODELING)
    auto = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    config = {"model_type": "tiny_remote", "width": 6, "words": 11, "auto_map": auto, "architectures": ["TinyModel"]}
    (at / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    weights = {"words.weight": rng.normal(size=(11, 6)), "mix.weight": rng.normal(size=(6, 6))}
    save_file(
        {k: v.astype(np.float32) for k, v in weights.items()}, at / "model.safetensors", metadata={"format": "pt"}
    )
    return at


def expected(folder, ids):
    from safetensors.numpy import load_file

    w = load_file(folder / "model.safetensors")
    return np.tanh(w["words.weight"][ids] @ w["mix.weight"].T)


def test_model_loads_and_computes(folder):
    model = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    ids = np.array([[1, 2, 10]])
    np.testing.assert_allclose(model(ids).last_hidden_state.numpy(), expected(folder, ids), atol=1e-6)
    assert isinstance(model, hf_ascend.PreTrainedModel)
    assert type(model).__module__.startswith("hf_ascend.transformers_modules.")
    assert isinstance(model.mix, hf_ascend.torch.nn.Module)


def test_config_class_is_the_one_that_autoconfig_gives(folder):
    config = hf_ascend.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert type(model.config) is type(config)
    assert isinstance(config, transformers.PreTrainedConfig)
    assert (type(model).config_class.__name__, config.width) == ("TinyConfig", 6)
    other = hf_ascend.AutoModel.from_config(config, trust_remote_code=True)
    assert other.words.weight.shape == (11, 6)


def test_real_transformers_in_the_same_process_keeps_its_own(folder):
    ours = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    real = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    again = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert isinstance(real, transformers.PreTrainedModel)
    assert type(again) is type(ours)
    assert not isinstance(ours, type(real))
    import torch

    ids = torch.tensor([[3, 4]])
    np.testing.assert_allclose(
        ours(ids).last_hidden_state.numpy(), real(ids).last_hidden_state.detach().numpy(), atol=1e-6
    )


def test_errors_show_the_file_and_line_of_the_models_code(folder):
    model = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    with pytest.raises(ValueError, match="tiny model without input") as caught:
        model()
    last = caught.traceback[-1]
    assert Path(last.path).name == "modeling_tiny.py"
    assert "raise ValueError" in MODELING.splitlines()[last.lineno]


def test_changed_code_is_used(folder):
    hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    (folder / "layers.py").write_text(LAYERS.replace("torch.tanh(", "2 * torch.tanh("))
    (folder / "configuration_tiny.py").write_text(CONFIGURATION + "# another version\n")  # or upstream keeps the pair
    model = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    ids = np.array([[5]])
    np.testing.assert_allclose(model(ids).last_hidden_state.numpy(), 2 * expected(folder, ids), atol=1e-6)


def test_saved_folder_carries_its_code_and_loads_again(folder, tmp_path):
    model = hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
    model.save_pretrained(tmp_path / "saved-again")
    for name in ("configuration_tiny.py", "modeling_tiny.py", "layers.py"):
        assert (tmp_path / "saved-again" / name).read_text() == (folder / name).read_text()
    again = hf_ascend.AutoModel.from_pretrained(tmp_path / "saved-again", trust_remote_code=True)
    ids = np.array([[1, 2]])
    np.testing.assert_array_equal(again(ids).last_hidden_state.numpy(), model(ids).last_hidden_state.numpy())


def test_without_trust_nothing_is_executed(folder):
    (folder / "configuration_tiny.py").write_text("raise SystemExit('executed')")
    code = (
        "import sys\nfrom hf_ascend import AutoModel\n"
        f"try: AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=False)\n"
        "except ValueError as e: print('trust_remote_code' in str(e))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_missing_class_is_an_error_that_names_it(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = "modeling_tiny.NoSuchModel"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(AttributeError, match="NoSuchModel"):
        hf_ascend.AutoModel.from_pretrained(folder, trust_remote_code=True)
