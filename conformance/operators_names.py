"""Which operators upstream uses, and which entry of PyTorch's operator database tests each.

1. `used` merges the scans (`coverage.scan`) of the installed packages: torch names; methods as `Tensor.x`.
2. `operator_kind` parts operators from the rest: classes, modules, dtypes, flags and functions that take no tensor.
3. `plan` pairs each operator with the database's entries for it and the form: "function", "method" or "in-place".

The database is `torch.testing._internal.common_methods_invocations.op_db`; it comes with torch and needs `expecttest`.
"""

import collections
import dataclasses
import functools
import importlib.util
import types
from typing import Any

from hf_ascend.conformance import coverage

PACKAGES = ("transformers", "accelerate", "peft", "trl")
"""The packages whose code is executed; those not installed are left out, and the results say so."""

_SPACES = ("", "linalg", "fft", "special", "nn.functional", "_C._nn", "Tensor", "functional")
"""Where operators live. Names elsewhere (nn.init, distributions, ...) are Python code that calls them."""

_NOT_TENSORS = frozenset(
    """autocast compile load save manual_seed seed initial_seed get_rng_state set_rng_state set_default_dtype
    get_default_dtype set_default_device get_default_device set_grad_enabled is_grad_enabled is_inference_mode_enabled
    get_num_threads set_num_threads set_printoptions set_float32_matmul_precision get_float32_matmul_precision
    use_deterministic_algorithms are_deterministic_algorithms_enabled get_deterministic_debug_mode typename is_storage
    is_autocast_enabled is_autocast_cpu_enabled is_autocast_cache_enabled get_autocast_dtype get_autocast_gpu_dtype
    set_autocast_enabled set_autocast_dtype set_autocast_cache_enabled clear_autocast_cache get_device_module
    get_autocast_cpu_dtype promote_types can_cast broadcast_shapes vmap cond while_loop sym_int sym_float sym_ite
    sym_max sym_min sym_not sym_sum is_tensor _assert _check _check_is_size _check_value _check_with _check_tensor_all
    _disable_dynamo _is_functional_tensor _dynamo no_grad enable_grad inference_mode""".split()
)
"""Functions of the package `torch` that are not operators on tensors: settings, files, control flow."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One operator in use: its dotted name, how many files use it, and how it is tested."""

    name: str
    files: int
    entries: tuple[str, ...]
    form: str


def packages() -> tuple[str, ...]:
    """Those of PACKAGES that are installed."""
    return tuple(p for p in PACKAGES if importlib.util.find_spec(p) is not None)


def used() -> dict[str, int]:
    """Dotted torch name (methods as `Tensor.x`) -> files of the installed packages that use it."""
    found: collections.Counter[str] = collections.Counter()
    for package in packages():
        names, methods = coverage.scan(package)
        found.update(names)
        found.update({f"Tensor.{m}": n for m, n in methods.items()})
    return dict(found)


def real_object(name: str) -> Any:
    """PyTorch's object of a dotted name; None when there is none."""
    import torch

    at: Any = torch
    for part in name.split("."):
        at = getattr(at, part, None)
    return at


def operator_kind(name: str) -> str:
    """What a name is: "operator", "class", "module", "value", "not on tensors" or "Python code"."""
    found = real_object(name)
    space, _, short = name.rpartition(".")
    if isinstance(found, type):
        return "class"
    if isinstance(found, types.ModuleType):
        return "module"
    if not callable(found):
        return "operator" if space == "Tensor" and short in ("T", "mT", "H", "mH", "real", "imag") else "value"
    if space not in _SPACES:
        return "Python code"
    if space == "" and short in _NOT_TENSORS:
        return "not on tensors"
    if space == "Tensor" and _is_bookkeeping(short):
        return "not on tensors"
    return "operator"


def _is_bookkeeping(method: str) -> bool:
    """Methods about a tensor rather than its values: metadata, devices, autograd's flags."""
    return method in frozenset(
        """backward cpu cuda data_ptr dim element_size get_device is_complex is_contiguous is_cuda is_floating_point
        is_meta is_pinned is_set_to is_shared is_sparse names ndimension nelement numel numpy pin_memory register_hook
        register_post_accumulate_grad_hook requires_grad_ retain_grad share_memory_ size storage storage_offset stride
        tolist untyped_storage detach_ is_inference ipu xpu mtia is_coalesced coalesce is_signed set_ module_load
        rename refine_names align_to storage_type reinforce dequantize values indices crow_indices col_indices to_sparse
        to_dense to_mkldnn index_put_impl""".split()
    )


@functools.cache
def database() -> dict[str, list[Any]]:
    """The database: names (aliases too) -> entries. An entry's id is its name and variant, `entry_id`."""
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[Any]] = collections.defaultdict(list)
    for entry in op_db:
        for name in {entry.name, *(a.name for a in entry.aliases)}:
            found[name].append(entry)
    return found


def entry_id(entry: Any) -> str:
    """The name of a database entry with its variant: "div.floor_rounding"."""
    return f"{entry.name}.{entry.variant_test_name}" if entry.variant_test_name else entry.name


_WRITTEN_OTHERWISE = {
    "_C._nn.": "nn.functional.",
    "functional.": "",
}
_SAME = {
    "absolute": "abs", "linalg.matmul": "matmul", "nn.functional.log_softmax": "log_softmax",
    "nn.functional.softmax": "softmax", "nn.functional.sigmoid": "sigmoid", "nn.functional.tanh": "tanh",
    "clip": "clamp", "get": "__getitem__",
}  # fmt: skip


def plan(names: dict[str, int]) -> list[Planned]:
    """Each operator among `names` with the database's entries for it; entries is empty where it has none."""
    return [
        Planned(n, names[n], *_entries(n))
        for n in sorted(names, key=lambda n: (-names[n], n))
        if operator_kind(n) == "operator"
    ]


def _entries(name: str) -> tuple[tuple[str, ...], str]:
    db = database()
    method = name.startswith("Tensor.")
    short = name.removeprefix("Tensor.")
    for prefix, instead in _WRITTEN_OTHERWISE.items():
        if short.startswith(prefix):
            short = instead + short.removeprefix(prefix)
    for form, base in (("method" if method else "function", short), ("in-place", short.removesuffix("_"))):
        if form == "in-place" and (base == short or base.endswith("_")):
            continue
        for candidate in (base, _SAME.get(base), f"nn.functional.{base}"):
            if candidate in db:
                return tuple(entry_id(e) for e in db[candidate]), form
    return (), "method" if method else "function"
