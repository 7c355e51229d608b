"""torch.backends: settings of PyTorch's libraries, accepted and without effect."""

import contextlib
from typing import Any


class _Backend:
    enabled = False
    benchmark = False
    deterministic = False
    allow_tf32 = False
    preferred_linalg_library = staticmethod(lambda *a: None)

    def is_available(self) -> bool:
        """Never: the library is not used."""
        return False

    is_built = is_available

    def flags(self, *args: Any, **kwargs: Any) -> Any:
        """A context without effect."""
        return contextlib.nullcontext()

    def is_acceptable(self, tensor: Any) -> bool:
        """Never."""
        return False

    def get_fastpath_enabled(self) -> bool:
        """No fused encoder path."""
        return False

    set_flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith(("enable_", "set_")):
            return lambda *a, **k: None
        if name.endswith("_enabled") or name.startswith("is_"):
            return lambda *a, **k: False
        made = _Backend()
        self.__dict__[name] = made
        return made


cudnn, cuda, mps, mkl, mkldnn, openmp, mha, xeon, opt_einsum, quantized, cusparselt = (_Backend() for _ in range(11))


class _Cpu(_Backend):
    @staticmethod
    def get_cpu_capability() -> str:
        """PyTorch's: code that chooses an algorithm by it makes the same choice here."""
        import torch

        return torch.backends.cpu.get_cpu_capability()


cpu = _Cpu()
