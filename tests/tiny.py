"""Tiny checkpoints with real tokenizers and processors, saved by real transformers, for the tests."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = "the cat sat on mat a dog ran in park big red house and blue sky is was it he she we you they".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {w: i for i, w in enumerate([*SPECIAL, *WORDS, *"abcdefghijklmnopqrstuvwxyz", ".", ",", "?"])}
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }} [SEP] {% endfor %}a "
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": len(VOCABULARY),
}


def word_tokenizer(causal: bool = False, chat: bool = False):
    """A tokenizer of whole words, with BERT's special tokens; a causal one adds none and pads on the left."""
    inner = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if not causal:
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])],
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "eos_token": "[SEP]"}
    if not causal:
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, padding_side="left" if causal else "right", model_max_length=64, **names
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save(folder: Path, model, *companions) -> Path:
    """Randomize every weight from a fixed seed, so that biases and norms matter, and save all."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3, generator=generator)
    model.eval().save_pretrained(folder)
    for companion in companions:
        companion.save_pretrained(folder)
    return folder


def causal_lm(folder: Path, chat: bool = False) -> Path:
    """A Llama with a word tokenizer."""
    config = transformers.LlamaConfig(
        **SMALL, num_key_value_heads=1, max_position_embeddings=64, bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    return save(folder, transformers.LlamaForCausalLM(config), word_tokenizer(causal=True, chat=chat))


def bert(folder: Path, kind: type, **options) -> Path:
    """A BERT with a head of class `kind`."""
    config = transformers.BertConfig(**SMALL, max_position_embeddings=64, **options)
    return save(folder, kind(config), word_tokenizer())


def vit(folder: Path) -> Path:
    """An image classifier."""
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        id2label={0: "cat", 1: "dog", 2: "house"}, label2id={"cat": 0, "dog": 1, "house": 2},
    )  # fmt: skip
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    return save(folder, transformers.ViTForImageClassification(config), processor)


def ctc(folder: Path) -> Path:
    """A speech recogniser: wav2vec2 with letters as tokens."""
    letters = {c: i for i, c in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijkl"])}
    folder.mkdir(parents=True)
    (folder / "letters.json").write_text(json.dumps(letters))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "letters.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000, return_attention_mask=True)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=len(letters),
        conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 4), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return save(folder, transformers.Wav2Vec2ForCTC(config), tokenizer, extractor)
