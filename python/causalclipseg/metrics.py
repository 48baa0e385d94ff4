"""How much two masks of one image agree, by the same definitions as ``causalclipseg-convert evaluate``.

Masks are height x width, bool or integers (not zero is lesion), and have one shape.
"""

from typing import Any, Tuple

import numpy as np

__all__ = ["dice", "hd95", "iou", "nsd"]

#: Rim pixels whose distances are computed at once: some tens of megabytes.
_CHUNK = 1 << 22


def dice(found: Any, truth: Any) -> float:
    """Dice's coefficient, ``2 |A and B| / (|A| + |B|)``, 0 to 1. Both masks empty is 1, one empty 0."""
    found, truth = _pair(found, truth)
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total


def iou(found: Any, truth: Any) -> float:
    """Intersection over union, ``|A and B| / |A or B|``, 0 to 1. Both masks empty is 1, one empty 0."""
    found, truth = _pair(found, truth)
    union = int((found | truth).sum())
    return 1.0 if union == 0 else int((found & truth).sum()) / union


def hd95(found: Any, truth: Any) -> float:
    """Hausdorff's distance without its outliers, in pixels.

    The larger of the two 95th percentiles (interpolated) of the distances from one rim to the other. A rim are the pixels of a
    mask that have one of their four neighbours outside the mask or beyond the image. Both masks empty is 0; one empty is the
    image's diagonal.
    """
    found, truth = _pair(found, truth)
    one, other = _distances(found, truth)
    if one.size == 0 and other.size == 0:
        return 0.0
    if one.size == 0 or other.size == 0:
        return float(np.hypot(*found.shape))
    return float(max(np.percentile(one, 95), np.percentile(other, 95)))


def nsd(found: Any, truth: Any, tolerance_px: float = 2.0) -> float:
    """The normalised surface Dice: the part of both rims, 0 to 1, within ``tolerance_px`` pixels of the other rim.

    Both masks empty is 1, one empty 0.
    """
    found, truth = _pair(found, truth)
    one, other = _distances(found, truth)
    if found.any() != truth.any():
        return 0.0
    count = one.size + other.size
    return 1.0 if count == 0 else float((one <= tolerance_px).sum() + (other <= tolerance_px).sum()) / count


def _pair(found: Any, truth: Any) -> Tuple[np.ndarray, np.ndarray]:
    masks = []
    for name, mask in (("found", found), ("truth", truth)):
        mask = np.asarray(mask)
        if mask.dtype.kind not in "bui":
            raise TypeError(f"{name} has dtype {mask.dtype}: a mask is bool or integers; compare probabilities with a threshold first")
        if mask.ndim != 2:
            raise ValueError(f"{name} has shape {mask.shape}: a mask is height x width")
        masks.append(mask != 0)
    if masks[0].shape != masks[1].shape:
        raise ValueError(f"the masks have shapes {masks[0].shape} and {masks[1].shape}: masks of one image have one shape")
    return masks[0], masks[1]


def _rim(mask: np.ndarray) -> np.ndarray:
    """The rim's pixels (y, x), N x 2."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner).astype(np.int64)


def _distances(found: np.ndarray, truth: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """For each rim pixel of one mask the distance to the nearest one of the other; nothing where one of them is empty."""
    one, other = _rim(found), _rim(truth)
    if len(one) == 0 or len(other) == 0:
        # Only which of the masks is empty is asked for then.
        return np.full(len(one), np.inf), np.full(len(other), np.inf)
    nearest_one = np.full(len(one), np.iinfo(np.int64).max)
    nearest_other = np.full(len(other), np.iinfo(np.int64).max)
    step = max(1, _CHUNK // len(other))
    for start in range(0, len(one), step):
        part = one[start : start + step]
        squared = (part[:, None, 0] - other[None, :, 0]) ** 2 + (part[:, None, 1] - other[None, :, 1]) ** 2
        nearest_one[start : start + step] = squared.min(axis=1)
        np.minimum(nearest_other, squared.min(axis=0), out=nearest_other)
    return np.sqrt(nearest_one), np.sqrt(nearest_other)
