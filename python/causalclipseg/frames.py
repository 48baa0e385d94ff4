"""Images as the runtime takes them: from arrays, and from files frame by frame."""

import os
from typing import Any, Iterator, Optional, Sequence, Tuple, Union

import numpy as np

from . import _runtime
from ._runtime import Frame
from .errors import FileError, ImageError, ImageTypeError, MissingFileError, OptionError

PathLike = Union[str, "os.PathLike[str]"]

#: The largest number of 16-bit grey.
_WHITE_16 = 65535


def is_path(image: Any) -> bool:
    return isinstance(image, (str, os.PathLike))


def checked_path(path: PathLike) -> str:
    """The path as text, of a file that exists."""
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"a path is a str or an os.PathLike of str, and this is {type(name).__name__}: decode it with os.fsdecode")
    if "\0" in name:
        raise FileError("a path has a null character: no file has such a name")
    if not os.path.exists(name):
        raise MissingFileError(f"{name}: there is no such file; check the path")
    if os.path.isdir(name):
        raise FileError(f"{name}: is a folder; give one file, or use python -m causalclipseg.archive for folders")
    return name


def frame_of(image: Any, mm_per_pixel: Any = None, region: Any = None) -> Frame:
    """A frame of an array's pixels, which are copied; see :meth:`causalclipseg.Model.segment` for what is accepted."""
    size, place = _size_of_pixel(mm_per_pixel), _region(region)
    if isinstance(image, Frame):
        return image if size is None and place is None else image.with_options(size, place)
    return Frame(_pixels(image), size, place)


def _size_of_pixel(value: Any) -> Optional[Tuple[float, float]]:
    if value is None:
        return None
    try:
        sides = (float(value),) * 2 if np.ndim(value) == 0 else tuple(float(side) for side in value)
    except (TypeError, ValueError):
        raise TypeError(f"mm_per_pixel is {value!r}: give one number, or two as (x, y)") from None
    if len(sides) != 2:
        raise OptionError(f"mm_per_pixel has {len(sides)} numbers: give one, or two as (x, y)")
    return sides[0], sides[1]


def _region(value: Any) -> Optional[Tuple[int, int, int, int]]:
    if value is None:
        return None
    try:
        numbers = [number.__index__() for number in value]
    except (TypeError, AttributeError):
        raise TypeError(f"region is {value!r}: give four integers, (x, y, width, height)") from None
    if len(numbers) != 4 or min(numbers) < 0 or max(numbers) >= 1 << 32:
        raise OptionError(f"region is {tuple(numbers)}: give (x, y, width, height) in pixels, none of them negative")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _pixels(image: Any) -> np.ndarray:
    """An image's pixels as grey of 8 or 16 bits, or as RGB of 8 bits, in any order of memory."""
    if not isinstance(image, np.ndarray):
        if not (hasattr(image, "__array__") or hasattr(image, "__array_interface__")):
            raise ImageTypeError(
                f"an image is an array, a path or a Frame, and this is {type(image).__name__}: convert it with numpy.asarray"
            )
        image = np.asarray(image)
    pixels = _channels(image)
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "u" and size == 1:
        return pixels
    if kind == "u" and size == 2 and pixels.ndim == 2:
        # Big-endian arrays, and those at odd addresses, hold the same numbers.
        return np.require(pixels.astype(np.uint16, copy=False), requirements="A")
    if kind == "f":
        return _from_floats(pixels)
    advice = "scale it and use astype(numpy.uint8)"
    if kind == "u" and size == 2:
        advice = "colours have 8 bits; use (image >> 8).astype(numpy.uint8)"
    elif kind == "b":
        advice = "this looks like a mask; an image would be image.astype(numpy.uint8) * 255"
    raise ImageTypeError(
        f"the image has dtype {pixels.dtype} and shape {image.shape}: uint8, uint16 (grey) and floats of 0 to 1 are accepted; {advice}"
    )


def _channels(image: np.ndarray) -> np.ndarray:
    """The image as height x width or height x width x 3."""
    shape = image.shape
    if image.ndim == 3 and shape[2] == 1:
        image = image[:, :, 0]
    elif image.ndim == 3 and shape[2] == 4:
        image = image[:, :, :3]
    elif image.ndim != 2 and not (image.ndim == 3 and shape[2] == 3):
        hint = "; move the channels last with numpy.moveaxis(image, 0, -1)" if image.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"the image has shape {shape}: give height x width, or height x width x 1 (grey), 3 (RGB) or 4 (RGBA){hint}"
        )
    if 0 in shape:
        raise ImageError(f"the image has shape {shape}, so no pixels: give at least one pixel a side")
    return image


def _from_floats(pixels: np.ndarray) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    # A NaN anywhere makes both of them NaN.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the image holds numbers that are not finite (NaN or infinity): replace them, as numpy.nan_to_num does")
    if low < 0 or high > 1:
        raise ImageError(
            f"the image holds floats of {low:g} to {high:g}, and 0 (black) to 1 (white) is the range: scale it, or give integers"
        )
    if pixels.ndim == 2:
        return np.rint(pixels.astype(np.float64) * _WHITE_16).astype(np.uint16)
    return np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)


class FrameReader:
    """The frames of one file, an iterator: each is read when it is asked for. Made by :func:`read_frames`.

    Attributes
    ----------
    path: the file's name, as it is in messages.
    """

    def __init__(self, path: str, native: "_runtime.FrameReader") -> None:
        self.path = path
        self._native = native

    @property
    def frame_count(self) -> Optional[int]:
        """The number of frames; None where it is unknown before the end."""
        return self._native.frames

    @property
    def is_still(self) -> bool:
        """Whether the file is one picture, and not a clip or a volume."""
        return self._native.is_still

    @property
    def uids(self) -> Tuple[Optional[str], Optional[str], Optional[str]]:
        """The UIDs of study, series and instance of a DICOM file; None where there is none."""
        study, series, instance = self._native.uids()
        return study, series, instance

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = self._native.read()
        if frame is None:
            raise StopIteration
        return frame


def read_frames(path: PathLike, *, content: Optional[bytes] = None) -> FrameReader:
    """Opens a picture (PNG, JPEG, BMP, TIFF), a DICOM file, a MetaImage, NRRD or NIfTI file, by its content and not by its name.

    Parameters
    ----------
    path: the file.
    content: the file's bytes, where they are in memory already; ``path`` is then only its name in messages.

    Raises
    ------
    MissingFileError, FileError: the file is missing, has another format, or is damaged. A damaged frame is found when it is read.
    """
    if content is None:
        name = checked_path(path)
        return FrameReader(name, _runtime.FrameReader(name))
    name = os.fspath(path)
    return FrameReader(name, _runtime.FrameReader(name, bytes(content)))


def single_frame(path: PathLike) -> Frame:
    """The only frame of a file."""
    reader = read_frames(path)
    frame = next(reader, None)
    if frame is None:
        raise FileError(f"{reader.path}: holds no frame; check the file")
    if not reader.is_still and reader.frame_count != 1:
        count = reader.frame_count
        raise FileError(f"{reader.path}: holds {count if count else 'several'} frames; use Model.segment_clip, which yields each")
    return frame


def prompts_of(prompts: Union[str, Sequence[str]]) -> Sequence[str]:
    """Prompts as a list of sentences; the runtime checks each sentence."""
    from .errors import PromptError

    if isinstance(prompts, str):
        return [prompts]
    try:
        listed = list(prompts)
    except TypeError:
        raise TypeError(f"prompts are a str or a sequence of str, and this is {type(prompts).__name__}") from None
    for prompt in listed:
        if not isinstance(prompt, str):
            raise TypeError(f"a prompt is a str, and this is {type(prompt).__name__}: {prompt!r}")
    if not listed:
        raise PromptError("there is no prompt: give at least one sentence that describes the lesion")
    return listed
