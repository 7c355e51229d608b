"""torchvision.extension: operators that torchvision computes in its C++ library for PyTorch.

Upstream's module loads that library, which knows nothing of MindSpore. `nms` is here. For `roi_align` torchvision has
Python, too, and uses it where there is no library. The others say when they are called that they are missing.
"""

import numpy as np

from hf_ascend import torch
from hf_ascend.torch.library import CustomOpDef


def _load_library(lib_name: str) -> bool:
    """False: no library of PyTorch's operators can be loaded."""
    return False


def _has_ops() -> bool:
    """False: upstream takes the path in Python where it has one."""
    return False


def _assert_has_ops() -> None:
    """Nothing: an operator that is missing says so itself, by its name."""


def _check_cuda_version() -> int:
    """-1, for "without CUDA"."""
    return -1


def _nms(dets: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float) -> "torch.Tensor":
    """Indices of the boxes that no better box overlaps by more than `iou_threshold`, by falling score.

    `dets` is (N, 4), float, as (x1, y1, x2, y2); `scores` is (N,). int64 indices. The overlap is intersection over
    union. Raises RuntimeError for other shapes, as PyTorch's operator does.
    """
    if dets.dim() != 2 or dets.size(1) != 4:
        raise RuntimeError(f"boxes should be a tensor of shape [N, 4], got {list(dets.shape)}")
    if scores.dim() != 1 or scores.size(0) != dets.size(0):
        raise RuntimeError(f"scores should be a tensor of shape [{dets.size(0)}], got {list(scores.shape)}")
    boxes = dets.detach().cpu().numpy()
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores.detach().cpu().numpy(), kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[order]) - np.maximum(x1[best], x1[order])
        height = np.minimum(y2[best], y2[order]) - np.maximum(y1[best], y1[order])
        inside = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = inside / (areas[best] + areas[order] - inside)
        order = order[~(overlap > iou_threshold)]  # NaN, from boxes without an area, suppresses nothing
    return torch.tensor(np.array(kept, np.int64), device=dets.device)


CustomOpDef("torchvision::nms", _nms)
