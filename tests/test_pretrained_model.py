"""The methods of PreTrainedModel that users call, held against real transformers."""

import mindspore
import numpy as np
import pytest
import torch as real

import hf_ascend
from hf_ascend import torch


@pytest.fixture
def llama(pair):
    found = pair("llama")
    theirs = type(found.theirs).from_pretrained(found.folder)
    return theirs, type(found.ours).from_pretrained(found.folder)


IDS = [[1, 5, 3, 2]]


def logits(model, t):
    with t.no_grad():
        return np.asarray(model(input_ids=t.tensor(IDS)).logits)


def test_resizing_embeddings_keeps_the_old_rows(llama):
    theirs, ours = llama
    size = theirs.config.vocab_size + 7
    for model in (theirs, ours):
        model.resize_token_embeddings(size, mean_resizing=False)
        assert model.config.vocab_size == size
        assert model.get_input_embeddings().weight.shape[0] == size
        assert model.get_output_embeddings().weight.shape[0] == size
    np.testing.assert_allclose(logits(ours, torch)[..., : size - 7], logits(theirs, real)[..., : size - 7], atol=1e-5)


def test_embeddings_can_be_replaced_and_tied(llama):
    _, ours = llama
    fresh = torch.nn.Embedding(*ours.get_input_embeddings().weight.shape)
    ours.set_input_embeddings(fresh)
    assert ours.get_input_embeddings() is fresh
    ours.config.tie_word_embeddings = True
    ours.tie_weights()
    assert ours.get_output_embeddings().weight is fresh.weight


def test_eager_and_sdpa_attention_agree(llama):
    _, ours = llama
    sdpa = logits(ours, torch)
    ours.set_attn_implementation("eager")
    assert ours.config._attn_implementation == "eager"
    np.testing.assert_allclose(logits(ours, torch), sdpa, atol=1e-5)


def test_gradient_checkpointing_changes_memory_not_gradients(llama):
    _, ours = llama
    ids = torch.tensor(IDS)
    found = []
    for _ in range(2):
        ours.train()
        ours.zero_grad()
        ours(input_ids=ids, labels=ids).loss.backward()
        found.append({n: p.grad.numpy().copy() for n, p in ours.named_parameters()})
        ours.gradient_checkpointing_enable()
    assert ours.is_gradient_checkpointing
    for name, want in found[0].items():
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(found[1][name], want, rtol=1e-4, atol=1e-6, err_msg=name)


def test_facts_about_the_model(llama):
    theirs, ours = llama
    assert ours.num_parameters() == theirs.num_parameters()
    assert ours.num_parameters(only_trainable=True) == theirs.num_parameters(only_trainable=True)
    assert ours.dtype == torch.float32
    assert ours.device.type == "cpu"
    assert ours.get_memory_footprint() == theirs.get_memory_footprint()
    assert ours.half().dtype == torch.float16
    assert ours.to(torch.float32).dtype == real.float32


def test_from_config_makes_the_model_that_the_seed_says(llama):
    theirs, ours = llama
    real.manual_seed(4)
    want = type(theirs)._from_config(theirs.config)
    torch.manual_seed(4)
    got = hf_ascend.AutoModelForCausalLM.from_config(ours.config)
    for (name, p), q in zip(want.named_parameters(), got.parameters(), strict=True):
        assert (p.detach().numpy() == q.detach().numpy()).all(), name


def test_outputs_are_mindspore_tensors_that_mindspore_computes_with(llama):
    _, ours = llama
    out = ours(input_ids=mindspore.Tensor(IDS))
    assert isinstance(out.logits, mindspore.Tensor)
    probabilities = mindspore.ops.softmax(out.logits, -1)
    np.testing.assert_allclose(probabilities.asnumpy().sum(-1), 1, rtol=1e-5)
    assert out.logits.numpy().shape == out.logits.asnumpy().shape == np.asarray(out.logits).shape
    assert len(out.logits.tolist()) == 1
    assert isinstance(out.logits.max().item(), float)


def test_an_unknown_attention_is_refused_by_name(llama):
    _, ours = llama
    with pytest.raises(ValueError, match="no_such_attention"):
        ours.set_attn_implementation("no_such_attention")
