"""Where two copies of a model part: the first submodule whose output departs.

Hooks on every submodule record what PyTorch's copy computes; the same hooks compare ours call by call. Submodules
finish before the modules that contain them, so the first departure is the deepest. One whose inputs had departed
already is a victim of what ran between modules, in the forward code of the module around it; the report says so.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from hf_ascend.conformance import compare


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a submodule: its largest difference over what is allowed (0 to 1 agrees), or what departed.

    `inputs_agree` tells whether a departure is the submodule's own doing.
    """

    module: str
    class_name: str
    error: float
    message: str | None
    inputs_agree: bool

    def __str__(self) -> str:
        where = f"{self.module or 'the model itself'} ({self.class_name})"
        if self.inputs_agree:
            return f"{where}: {self.message}"
        return f"before {where}, whose input departs: {self.message}"


def _leaves(value: Any) -> dict[str, Any]:
    return {k: compare.array(v) for k, v in compare.walk(value) if compare.is_tensor(v)}


Call = tuple[str, str, dict[str, Any], dict[str, Any]]


def record(model: Any, call: Callable[[], Any]) -> tuple[list[Call], Exception | None]:
    """Run `call`; (module, class, inputs, outputs) of each finished submodule call of `model`, and what it raised."""
    calls: list[Call] = []
    inputs: dict[str, list[dict[str, Any]]] = {}
    handles = []
    for name, module in model.named_modules():

        def before(_: Any, args: Any, kwargs: Any, name: str = name) -> None:
            inputs.setdefault(name, []).append(_leaves([args, kwargs]))

        def after(module: Any, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            calls.append((name, type(module).__name__, inputs[name].pop(), _leaves(output)))

        handles += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]
    try:
        call()
    except Exception as error:
        return calls, error
    finally:
        for handle in handles:
            handle.remove()
    return calls, None


def steps(
    ours: Any,
    theirs: Any,
    run_ours: Callable[[], Any],
    run_theirs: Callable[[], Any],
    tolerance: float = compare.OUTPUT,
) -> list[Step]:
    """Run both models and compare every submodule call, in the order in which PyTorch's calls finish.

    A submodule that ours does not call is a departure; an exception of `run_ours` ends the list where it struck.
    """
    want, failed = record(theirs, run_theirs)
    if failed is not None:
        raise failed
    found, struck = record(ours, run_ours)
    queues: dict[str, list[tuple[dict, dict]]] = {}
    for name, _, given, output in found:
        queues.setdefault(name, []).append((given, output))
    result = []
    for name, class_name, given, output in want:
        queue = queues.get(name)
        if not queue:
            message = f"{type(struck).__name__}: {struck}" if struck else "not called"
            result.append(Step(name, class_name, float("inf"), message, True))
            if struck:
                break
            continue
        got_inputs, got_output = queue.pop(0)
        _, before = _compare(got_inputs, given, tolerance)
        error, message = _compare(got_output, output, tolerance)
        result.append(Step(name, class_name, error, message, before is None))
    return result


def _compare(got: dict[str, Any], want: dict[str, Any], tolerance: float) -> tuple[float, str | None]:
    worst = 0.0
    for key, value in want.items():
        if key not in got:
            return float("inf"), f"{key or 'output'}: missing"
        try:
            # Relative to the tensor's own size: what looks small here may be magnified by a normalisation that follows.
            worst = max(worst, compare.arrays(key or "output", got[key], value, tolerance, 1e-9))
        except compare.MismatchError as error:
            return error.error or float("inf"), str(error)
    return worst, None


def first(
    ours: Any,
    theirs: Any,
    run_ours: Callable[[], Any],
    run_theirs: Callable[[], Any],
    tolerance: float = compare.OUTPUT,
) -> Step | None:
    """The first submodule whose output departs, or None when all agree (the model's own last lines then differ).

    Inside a module that agrees nothing counts: it may do its work in another order (experts one by one or at once).
    """
    found = steps(ours, theirs, run_ours, run_theirs, tolerance)
    departed = [s for s in found if s.message is not None]
    agreeing = {s.module for s in found} - {s.module for s in departed}
    for step in departed:
        if not any(step.module.startswith(f"{a}.") for a in agreeing):
            return step
    return None
