"""torch._amp_*: what GradScaler asks of gradients and does to its scale."""

import math
from typing import Any

from .._registry import NAMESPACE


def non_finite_check_and_unscale_(grads: list[Any], found_inf: Any, inv_scale: Any) -> None:
    """Multiply `grads` by `inv_scale`, and set `found_inf` to 1 if one of them has an infinity or NaN. In place."""
    finite = [g.isfinite().all() for g in grads]
    for g in grads:
        g.mul_(inv_scale)
    if finite and not NAMESPACE["stack"](finite).all():  # one wait for the device
        found_inf.fill_(1.0)


def update_scale_(
    self: Any, growth_tracker: Any, found_inf: Any, scale_growth_factor: float, scale_backoff_factor: float,
    growth_interval: int,
) -> Any:  # fmt: skip
    """Shrink the scale after an overflow; let it grow after `growth_interval` steps without, while it stays finite."""
    if float(found_inf):
        growth_tracker.fill_(0)
        return self.mul_(scale_backoff_factor)
    steps = int(growth_tracker) + 1
    growth_tracker.fill_(0 if steps == growth_interval else steps)
    if steps == growth_interval and math.isfinite(float(self * scale_growth_factor)):
        self.mul_(scale_growth_factor)
    return self


NAMESPACE["_amp_foreach_non_finite_check_and_unscale_"] = non_finite_check_and_unscale_
NAMESPACE["_amp_update_scale_"] = update_scale_
