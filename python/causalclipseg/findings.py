"""Results: what one prompt found in one image."""

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from . import _runtime


@dataclass(frozen=True)
class Quality:
    """How far a result can be trusted. Probabilities and shares are 0 to 1."""

    #: The mean probability inside the mask times ``stability``; 0 where nothing was found. It orders results; it is not a probability.
    score: float
    #: The mean probability inside the mask; None where it is empty.
    mean_probability: Optional[float]
    #: The smallest probability inside the mask; None where it is empty.
    min_probability: Optional[float]
    #: The largest probability in the image's region.
    max_probability: float
    #: The number of pixels above 0.3, 0.5 and 0.7.
    area_px_at: Tuple[int, int, int]
    #: The area above 0.7 over that above 0.3.
    stability: float
    #: The share of the mask that the confounder map covers; None without such a map or a mask.
    confounder_share: Optional[float]
    #: The Dice that results with this score had on images outside of the training; None where the model does not know, or nothing was found.
    expected_dice: Optional[float]
    #: Whether the target is in the image at all; None where the model does not know.
    present: Optional[bool]
    #: Reasons to doubt the result: ``nothing_found``, ``low_score``, ``blank_frame``, ``noise_frame``, ``frozen_frame``,
    #: ``unfamiliar_frame``, ``invalid_frame``, ``unknown_words``.
    flags: Tuple[str, ...]


@dataclass(frozen=True)
class Diameter:
    """A straight line across a lesion."""

    #: Its length in pixels.
    length_px: float
    #: Its length in millimetres; None where the size of a pixel is unknown.
    length_mm: Optional[float]
    #: Its two ends (x, y), in pixels.
    ends: Tuple[Tuple[float, float], Tuple[float, float]]


@dataclass(frozen=True)
class Measurements:
    """Measurements of one mask; zero or None where it is empty."""

    #: The number of pixels of the mask.
    area_px: int
    #: The share of the image's region that the mask covers, 0 to 1.
    area_fraction: float
    #: The area in square millimetres; None where the size of a pixel is unknown.
    area_mm2: Optional[float]
    #: The bounding box (x, y, width, height), in pixels.
    bbox: Optional[Tuple[int, int, int, int]]
    #: The mean probability inside the mask, 0 to 1.
    mean_probability: Optional[float]
    #: The mean of the pixels' centres (x, y), in pixels; the centre of the first pixel is (0.5, 0.5).
    centroid: Optional[Tuple[float, float]]
    #: The longest line between two points on the border of the largest part.
    longest_diameter: Optional[Diameter]
    #: The longest line across that part at a right angle to the longest diameter.
    perpendicular_diameter: Optional[Diameter]


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed boundary along the edges of pixels."""

    #: Whether it is the border of a hole. Outer boundaries run clockwise on the screen, holes counter-clockwise.
    hole: bool
    #: Corners (x, y), shape N x 2, uint32, 0 to width and 0 to height; the last joins the first.
    points: np.ndarray


class Finding:
    """What one prompt found in one image of height x width pixels.

    Arrays, contours and measurements are made when they are first asked for, and kept. Pickles hold all of them.
    """

    __slots__ = ("prompt", "threshold", "_native", "_made")

    #: The sentence.
    prompt: str
    #: A pixel is lesion where its probability is above this.
    threshold: float

    def __init__(self, prompt: str, threshold: float, native: "_runtime.Finding") -> None:
        self.prompt = prompt
        self.threshold = threshold
        self._native: Optional[_runtime.Finding] = native
        self._made: Dict[str, Any] = {}

    @property
    def mask(self) -> np.ndarray:
        """Lesion or not at each pixel, bool, height x width."""
        mask: np.ndarray = self._get("mask")
        return mask

    @property
    def probability(self) -> np.ndarray:
        """The probability of lesion at each pixel, float32, height x width, 0 to 1; 0 outside of the region."""
        probability: np.ndarray = self._get("probability")
        return probability

    @property
    def confounders(self) -> Optional[np.ndarray]:
        """Where the lesion would be found in what the model set aside, float32, height x width, 0 to 1.

        None unless the model was opened with ``confounders=True``.
        """
        confounders: Optional[np.ndarray] = self._get("confounders")
        return confounders

    @property
    def quality(self) -> Quality:
        """How far to trust the result."""
        quality: Quality = self._get("quality")
        return quality

    @property
    def contours(self) -> List[Contour]:
        """The mask's boundaries, outer and inner."""
        contours: List[Contour] = self._get("contours")
        return contours

    @property
    def measurements(self) -> Measurements:
        """Area, place and diameters, in millimetres too where the size of a pixel is known."""
        measurements: Measurements = self._get("measurements")
        return measurements

    @property
    def flags(self) -> Tuple[str, ...]:
        """Reasons to doubt the result: :attr:`Quality.flags`."""
        return self.quality.flags

    @property
    def native(self) -> "_runtime.Finding":
        """The runtime's own object, for writers; a pickled finding has none."""
        if self._native is None:
            raise AttributeError("a finding that was pickled has no native object")
        return self._native

    def __repr__(self) -> str:
        height, width = self.mask.shape
        flags = ", ".join(self.flags) or "none"
        return (
            f"<Finding {self.prompt!r}: {int(self.mask.sum())} of {width} x {height} pixels, score {self.quality.score:.2f}, "
            f"flags: {flags}>"
        )

    def _get(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _MAKERS[name](self._native)
        return self._made[name]

    def __getstate__(self) -> Tuple[str, float, Dict[str, Any]]:
        return self.prompt, self.threshold, {name: self._get(name) for name in _MAKERS}

    def __setstate__(self, state: Tuple[str, float, Dict[str, Any]]) -> None:
        self.prompt, self.threshold, self._made = state
        self._native = None


def _quality(native: Any) -> Quality:
    fields = json.loads(native.quality())
    fields["area_px_at"] = tuple(fields["area_px_at"])
    fields["flags"] = tuple(fields["flags"])
    return Quality(**fields)


def _diameter(fields: Optional[Dict[str, Any]]) -> Optional[Diameter]:
    if fields is None:
        return None
    return Diameter(fields["length_px"], fields["length_mm"], tuple(tuple(end) for end in fields["ends"]))  # type: ignore[arg-type]


def _measurements(native: Any) -> Measurements:
    fields = json.loads(native.measurements())
    for name in ("bbox", "centroid"):
        fields[name] = fields[name] and tuple(fields[name])
    for name in ("longest_diameter", "perpendicular_diameter"):
        fields[name] = _diameter(fields[name])
    return Measurements(**fields)


_MAKERS = {
    "mask": lambda native: native.mask(),
    "probability": lambda native: native.probability(),
    "confounders": lambda native: native.confounders(),
    "quality": _quality,
    "contours": lambda native: [Contour(hole, points) for hole, points in native.contours()],
    "measurements": _measurements,
}
