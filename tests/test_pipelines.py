"""pipeline() gives real transformers' results on the same folder."""

import numpy as np
import pytest
import transformers
from PIL import Image

import hf_ascend
import tiny

TEXTS = ["the cat sat on the mat .", "a big dog ran in the park", "it is blue"]


def close(ours, real, where=""):
    """Equal in structure, strings and integers; numbers close to 1e-4."""
    assert type(ours) is type(real), where
    if isinstance(real, dict):
        assert ours.keys() == real.keys(), where
        for key in real:
            close(ours[key], real[key], f"{where}.{key}")
    elif isinstance(real, (list, tuple)):
        assert len(ours) == len(real), where
        for i, (a, b) in enumerate(zip(ours, real, strict=True)):
            close(a, b, f"{where}[{i}]")
    elif isinstance(real, (float, np.floating)):
        assert abs(ours - real) <= 1e-4 * max(1.0, abs(real)), where
    elif isinstance(real, np.ndarray):
        np.testing.assert_allclose(ours, real, rtol=1e-4, atol=1e-4, err_msg=where)
    else:
        assert ours == real, where


def both(task, folder, *args, make=None, **kwargs):
    """Run the task in both worlds; returns real transformers' result after comparing ours with it."""
    made = make or {}
    ours = hf_ascend.pipeline(task, model=str(folder), **made)
    real = transformers.pipeline(task, model=str(folder), device="cpu", **made)
    assert type(ours.model).__module__.startswith("hf_ascend.transformers.")
    assert type(ours).__module__.startswith("hf_ascend.transformers.pipelines.")
    result = real(*args, **kwargs)
    close(ours(*args, **kwargs), result)
    return result


def test_text_generation(tmp_path):
    folder = tiny.causal_lm(tmp_path / "m")
    result = both("text-generation", folder, TEXTS, max_new_tokens=8, do_sample=False)
    assert all(len(r[0]["generated_text"]) > len(t) for r, t in zip(result, TEXTS, strict=True))


def test_text_generation_in_padded_batches(tmp_path):
    folder = tiny.causal_lm(tmp_path / "m")
    both("text-generation", folder, TEXTS, batch_size=3, max_new_tokens=6, do_sample=False, return_full_text=False)


def test_text_generation_of_a_conversation(tmp_path):
    folder = tiny.causal_lm(tmp_path / "m", chat=True)
    result = both(
        "text-generation", folder, [{"role": "user", "content": "the cat"}], max_new_tokens=5, do_sample=False
    )
    assert result[0]["generated_text"][-1]["role"] == "assistant"


def test_text_classification(tmp_path):
    folder = tiny.bert(tmp_path / "m", transformers.BertForSequenceClassification, num_labels=3)
    result = both("text-classification", folder, TEXTS, top_k=None, batch_size=2)
    assert len(result[0]) == 3


def test_token_classification(tmp_path):
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    folder = tiny.bert(tmp_path / "m", transformers.BertForTokenClassification, id2label=labels)
    assert any(both("token-classification", folder, TEXTS, make={"aggregation_strategy": "simple"}))
    both("token-classification", folder, TEXTS)


def test_fill_mask(tmp_path):
    folder = tiny.bert(tmp_path / "m", transformers.BertForMaskedLM)
    result = both("fill-mask", folder, ["the [MASK] sat on the mat", "a big [MASK] ran"], top_k=4)
    assert len(result[0]) == 4


def test_feature_extraction(tmp_path):
    folder = tiny.bert(tmp_path / "m", transformers.BertModel)
    result = both("feature-extraction", folder, TEXTS)
    assert np.shape(result[0]) == (1, 9, 16)


def test_feature_extraction_gives_tensors_of_ours(tmp_path):
    folder = tiny.bert(tmp_path / "m", transformers.BertModel)
    out = hf_ascend.pipeline("feature-extraction", model=str(folder))("the cat", return_tensors=True)
    assert isinstance(out, hf_ascend.torch.Tensor)


def test_image_classification(tmp_path):
    folder = tiny.vit(tmp_path / "m")
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(3)]
    images[1].save(tmp_path / "image.png")
    result = both("image-classification", folder, [images[0], str(tmp_path / "image.png"), images[2]], top_k=3)
    assert {r["label"] for r in result[0]} == {"cat", "dog", "house"}


@pytest.mark.parametrize("seconds", [0.05, 0.11])
def test_automatic_speech_recognition(tmp_path, seconds):
    folder = tiny.ctc(tmp_path / "m")
    sound = np.random.default_rng(2).normal(size=int(16000 * seconds)).astype(np.float32)
    result = both("automatic-speech-recognition", folder, sound)
    assert result["text"]
    if seconds > 0.1:
        both("automatic-speech-recognition", folder, sound, return_timestamps="char")


def test_pipeline_takes_a_model_and_a_tokenizer_of_ours(tmp_path):
    folder = str(tiny.bert(tmp_path / "m", transformers.BertForMaskedLM))
    model = hf_ascend.AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = hf_ascend.AutoTokenizer.from_pretrained(folder)
    ours = hf_ascend.pipeline("fill-mask", model=model, tokenizer=tokenizer)("the [MASK] sat")
    close(ours, transformers.pipeline("fill-mask", model=folder, device="cpu")("the [MASK] sat"))


def test_unknown_task_is_named(tmp_path):
    folder = tiny.bert(tmp_path / "m", transformers.BertModel)
    with pytest.raises(KeyError, match="no-such-task"):
        hf_ascend.pipeline("no-such-task", model=str(folder))
