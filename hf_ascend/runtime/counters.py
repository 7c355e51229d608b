"""Counts what ran on the torch CPU fallback, and can forbid it.

`HF_ASCEND_FALLBACK=error` (or `forbid_fallbacks(True)`) turns each fallback into an error.
"""

import collections
import os

_counts: collections.Counter[str] = collections.Counter()
_forbidden = os.environ.get("HF_ASCEND_FALLBACK", "allow").lower() == "error"


class FallbackForbiddenError(RuntimeError):
    """An operator without a native implementation was called while fallbacks are forbidden."""


def fallbacks() -> dict[str, int]:
    """Operator name -> how often it ran on the torch CPU fallback, most frequent first."""
    return dict(_counts.most_common())


def reset_fallbacks() -> None:
    """Start counting anew."""
    _counts.clear()


def forbid_fallbacks(flag: bool = True) -> None:
    """Make every further fallback an error (or allow it again)."""
    global _forbidden
    _forbidden = flag


def count_fallback(name: str, reason: str, where: str = "") -> None:
    """Record one fallback of operator `name`; raises FallbackForbiddenError when they are forbidden."""
    if _forbidden:
        raise FallbackForbiddenError(
            f"operator {name!r} has no native implementation for this call ({reason}){where} and fallbacks to "
            "PyTorch on the CPU are forbidden; allow them with HF_ASCEND_FALLBACK=allow"
        )
    _counts[name] += 1
