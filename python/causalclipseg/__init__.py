"""Text-prompted lesion segmentation for ultrasound.

>>> import causalclipseg
>>> with causalclipseg.Model.open() as model:
...     findings = model.segment("scan.png", ["a dark nodule"])

A :class:`Model` holds the network; :meth:`Model.segment` yields one :class:`Finding` a prompt, with a mask, probabilities, a
quality, contours and measurements. :mod:`causalclipseg.metrics` compares masks, :mod:`causalclipseg.rle` stores them as runs,
and ``python -m causalclipseg.archive`` segments archives.

Research software; not a medical device.
"""

from ._runtime import Frame, __version__
from .errors import (
    ClosedError,
    CpuError,
    Error,
    FileError,
    ImageError,
    ImageTypeError,
    MissingFileError,
    ModelError,
    OptionError,
    PromptError,
)
from .findings import Contour, Diameter, Finding, Measurements, Quality
from .frames import FrameReader, read_frames
from .model import Model

__all__ = [
    "ClosedError",
    "Contour",
    "CpuError",
    "Diameter",
    "Error",
    "FileError",
    "Finding",
    "Frame",
    "FrameReader",
    "ImageError",
    "ImageTypeError",
    "Measurements",
    "MissingFileError",
    "Model",
    "ModelError",
    "OptionError",
    "PromptError",
    "Quality",
    "__version__",
    "read_frames",
]
