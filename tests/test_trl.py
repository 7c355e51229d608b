"""trl, executed: its trainers give real trl's losses, step for step, and GRPO trains on its rewards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import hf_ascend
import tiny

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")
peft = pytest.importorskip("peft")

REAL = (trl, transformers, peft, torch)
OURS = (hf_ascend.trl, hf_ascend.transformers, hf_ascend.peft, hf_ascend.torch)
_draw = np.random.RandomState(0)


def say(count: int) -> str:
    return " ".join(_draw.choice(tiny.WORDS, count))


def turns(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": say(count)}]


TEXT = [{"text": say(_draw.randint(3, 12))} for _ in range(24)]
CHAT = [{"messages": turns(5)} for _ in range(24)]
COMPLETION = [{"prompt": say(4) + " ", "completion": say(3)} for _ in range(24)]
PREFERENCE = [{"prompt": say(4) + " ", "chosen": say(5), "rejected": say(4)} for _ in range(24)]
PREFERENCE_CHAT = [{"chosen": turns(5), "rejected": turns(3)} for _ in range(24)]

# Name: (trainer, rows, the configuration's options, whether LoRA is trained instead of the model).
CASES: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], bool]] = {
    "sft": ("SFT", TEXT, {}, False),
    "sft_lora": ("SFT", TEXT, {}, True),
    "sft_packed": ("SFT", TEXT, {"packing": True, "max_length": 32}, False),
    "sft_wrapped": ("SFT", TEXT, {"packing": True, "packing_strategy": "wrapped", "max_length": 32}, False),
    "sft_chat": ("SFT", CHAT, {}, False),
    "sft_completion": ("SFT", COMPLETION, {}, False),
    "sft_selective": ("SFT", TEXT, {"gradient_checkpointing_kwargs": {"selective": True}}, False),
    "dpo": ("DPO", PREFERENCE, {}, False),
    "dpo_ipo": ("DPO", PREFERENCE, {"loss_type": "ipo"}, False),
    "dpo_lora": ("DPO", PREFERENCE, {}, True),
    "reward": ("Reward", PREFERENCE, {}, False),
    "reward_chat": ("Reward", PREFERENCE_CHAT, {}, False),
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()
    for library in (transformers, hf_ascend.transformers):
        library.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small causal model and a reward model, each with a tokenizer that has a chat template."""
    folder = tmp_path_factory.mktemp("trl")
    tokenizer = tiny.word_tokenizer(causal=True, chat=True)
    made = {}
    for cls, options in (("LlamaForCausalLM", {}), ("LlamaForSequenceClassification", {"num_labels": 1})):
        config = transformers.LlamaConfig(
            **{**tiny.SMALL, "hidden_size": 32}, num_key_value_heads=1, max_position_embeddings=128,
            bos_token_id=2, eos_token_id=3, pad_token_id=0, **options,
        )  # fmt: skip
        made[cls] = tiny.save(folder / cls, getattr(transformers, cls)(config), tokenizer)
    return made


def trainer(side: tuple, kind: str, base: dict[str, Path], rows: list, output: Path, lora: bool, **options: Any) -> Any:
    """The trainer of one side, ready for a few steps."""
    library, hf, adapters, tensors = side
    given = {k: options.pop(k) for k in ("reward_funcs",) if k in options}
    arguments = getattr(library, f"{kind}Config")(
        output_dir=str(output), max_steps=4, per_device_train_batch_size=4, learning_rate=1e-3, logging_steps=1,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, **options,
    )  # fmt: skip
    cls = "LlamaForSequenceClassification" if kind == "Reward" else "LlamaForCausalLM"
    if lora:
        given["peft_config"] = adapters.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0)
    made = getattr(library, f"{kind}Trainer")(
        model=getattr(hf, cls).from_pretrained(base[cls]),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=hf.AutoTokenizer.from_pretrained(base[cls]),
        **given,
    )
    draw = np.random.RandomState(1)
    for key, value in sorted(made.model.state_dict().items()):
        if "lora_" in key:
            value.copy_(tensors.tensor(draw.standard_normal(tuple(value.shape)).astype(np.float32) * 0.05))
    return made


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradient_norms_are_those_of_real_trl(name: str, base: dict[str, Path], tmp_path: Path) -> None:
    kind, rows, options, lora = CASES[name]
    logs = []
    for side in (REAL, OURS):
        made = trainer(side, kind, base, rows, tmp_path, lora, **options)
        made.train()
        logs.append([(h["loss"], float(h["grad_norm"])) for h in made.state.log_history if "loss" in h])
    assert len(logs[0]) == 4
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_grpo_trains_on_the_rewards_of_what_it_generates(lora: bool, base: dict[str, Path], tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def reward(completions: list[str], **_: Any) -> list[float]:
        seen.append(completions)
        return [float(len(c) % 5) for c in completions]

    rows = [{"prompt": say(4)} for _ in range(24)]
    made = trainer(
        OURS, "GRPO", base, rows, tmp_path, lora, reward_funcs=reward, num_generations=4, max_completion_length=6
    )
    before = {k: p.detach().numpy().copy() for k, p in made.model.named_parameters() if p.requires_grad}
    made.train()
    assert len(seen) == 4
    assert all(len(completions) == 4 for completions in seen)
    after = dict(made.model.named_parameters())
    assert before
    assert any((after[k].detach().numpy() != v).any() for k, v in before.items())
