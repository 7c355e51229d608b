"""accelerate, executed: its modules share one state, and a saved training goes on where it stopped."""

from pathlib import Path
from typing import Any

import numpy as np

from hf_ascend import accelerate, torch


def start() -> tuple[Any, ...]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    accelerator = accelerate.Accelerator(cpu=True)
    return (accelerator, *accelerator.prepare(model, optimizer))


def train(accelerator: Any, model: Any, optimizer: Any, steps: int) -> np.ndarray:
    x = torch.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    for _ in range(steps):
        accelerator.backward(model(x).square().sum())
        optimizer.step()
        optimizer.zero_grad()
    return model.weight.detach().numpy().copy()


def test_a_saved_state_resumes_exactly(tmp_path: Path) -> None:
    accelerator, model, optimizer = start()
    train(accelerator, model, optimizer, 2)
    accelerator.save_state(str(tmp_path))
    expected = train(accelerator, model, optimizer, 3)
    accelerator, model, optimizer = start()
    accelerator.load_state(str(tmp_path))
    np.testing.assert_array_equal(train(accelerator, model, optimizer, 3), expected)


def test_the_logger_sees_the_state_of_the_accelerator(caplog: Any) -> None:
    accelerate.Accelerator(cpu=True)
    accelerate.logging.get_logger("clients").warning("ready", main_process_only=True)
    assert "ready" in caplog.text
