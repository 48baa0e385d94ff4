"""The native part of the package; use the modules beside it, which check arguments."""

from os import PathLike
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

__version__: str

class Frame:
    """One frame of an image, a clip or a volume, with what its file says about it. Made by :func:`causalclipseg.read_frames`."""

    def __init__(
        self,
        pixels: np.ndarray,
        mm_per_pixel: Optional[Tuple[float, float]] = None,
        region: Optional[Tuple[int, int, int, int]] = None,
    ) -> None: ...
    def with_options(
        self, mm_per_pixel: Optional[Tuple[float, float]] = None, region: Optional[Tuple[int, int, int, int]] = None
    ) -> "Frame":
        """The same frame with another size of a pixel (x, y) in millimetres, or another region (x, y, width, height)."""
    @property
    def pixels(self) -> np.ndarray:
        """A copy of the pixels: height x width of uint8 or uint16, or height x width x 3 of uint8."""
    @property
    def shape(self) -> Tuple[int, int]:
        """Height and width, in pixels."""
    @property
    def region(self) -> Tuple[int, int, int, int]:
        """What the network sees, (x, y, width, height) in pixels."""
    @property
    def mm_per_pixel(self) -> Optional[Tuple[float, float]]:
        """The size of a pixel (x, y), in millimetres."""
    @property
    def orientation(self) -> int:
        """How the pixels are turned to be upright, by EXIF's numbers 1 to 8."""
    @property
    def timestamp_s(self) -> Optional[float]:
        """When the frame was taken, in seconds by the source's own clock."""
    @property
    def valid(self) -> bool:
        """Whether the source marks the picture as valid."""

class Finding:
    def mask(self) -> np.ndarray: ...
    def probability(self) -> np.ndarray: ...
    def confounders(self) -> Optional[np.ndarray]: ...
    def quality(self) -> str: ...
    def measurements(self) -> str: ...
    def contours(self) -> List[Tuple[bool, np.ndarray]]: ...

class Model:
    def __init__(
        self,
        path: Optional[str],
        *,
        threads: int,
        confounders: bool,
        cached_prompts: int,
        allow_untrained: bool,
        isa: Optional[str],
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    def sha256(self) -> str: ...
    def encode(self, prompt: str) -> bool: ...
    def session(self, threshold: Optional[float], smoothing: float) -> "Session": ...

class Session:
    def run(self, frame: Frame, prompts: Sequence[str], restart: bool) -> Tuple[List[Finding], float, float]: ...

class FrameReader:
    def __init__(self, path: str, bytes: Optional[bytes] = None) -> None: ...
    @property
    def frames(self) -> Optional[int]: ...
    @property
    def is_still(self) -> bool: ...
    def uids(self) -> List[Optional[str]]: ...
    def read(self) -> Optional[Frame]: ...

class Segmentation:
    @staticmethod
    def of(reader: FrameReader, model: Model, prompts: Sequence[str]) -> Optional["Segmentation"]: ...
    def push(self, frame: int, mm_per_pixel: Optional[Tuple[float, float]], findings: Sequence[Finding]) -> None: ...
    def write(self, path: str) -> None: ...

def list_files(folder: "str | PathLike[str]") -> List[Path]: ...
