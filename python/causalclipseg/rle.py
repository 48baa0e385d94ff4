"""Masks as run lengths, uncompressed as in COCO: ``{"size": [height, width], "counts": [...]}`` in pycocotools."""

from typing import Any, List, Sequence, Tuple

import numpy as np

__all__ = ["decode", "encode"]


def encode(mask: Any) -> List[int]:
    """The lengths of the runs down each column, column after column: first of the background (perhaps 0), then of the lesion, and so on.

    ``mask`` is height x width, bool or integers (not zero is lesion).
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"the mask has shape {mask.shape}: a mask is height x width")
    flat = (mask != 0).ravel(order="F")
    if flat.size == 0:
        return []
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: List[int] = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0] + counts if flat[0] else counts


def decode(counts: Sequence[int], shape: Tuple[int, int]) -> np.ndarray:
    """The mask, bool, of ``shape`` (height, width).

    Raises ValueError where the runs do not add up to the shape.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    height, width = shape
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"the runs do not add up to {height} x {width} pixels: check the shape, and that the counts are complete")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")
