"""The model: opened once, used from any number of threads and processes."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

from . import _runtime
from .errors import ClosedError, Error, MissingFileError, ModelError, OptionError
from .findings import Finding
from .frames import PathLike, frame_of, is_path, prompts_of, read_frames, single_frame

Prompts = Union[str, Sequence[str]]

#: Models that a fork left behind. Their threads exist in the parent alone, so they are not taken apart in the child.
_of_parents: List[Any] = []


class Model:
    """A network ready to run. Make one with :meth:`open`.

    One model serves any number of threads at once. A pickle holds the path and not the weights: a worker opens the model again, and
    refuses a file with another checksum. In a fork of the process the model is opened again when it is first used.
    """

    def __init__(self, path: Optional[str], options: Dict[str, Any]) -> None:
        self._path = path
        self._options = options
        self._closed = False
        self._sha256: Optional[str] = None
        self._open()

    @classmethod
    def open(
        cls,
        path: Optional[PathLike] = None,
        *,
        threads: int = 1,
        confounders: bool = False,
        allow_untrained: bool = False,
        cached_prompts: int = 64,
        isa: Optional[str] = None,
    ) -> "Model":
        """Opens a ``.ccs`` bundle.

        Parameters
        ----------
        path: the bundle; None for the model inside this package.
        threads: threads that share the work on one image, 1 to 64. Results do not depend on it. For many images, one thread a
            model and several threads in :meth:`segment_batch` have a higher throughput.
        confounders: also make the confounder map, which costs a second head for each image.
        allow_untrained: open a bundle whose weights were never trained; its masks mean nothing.
        cached_prompts: the number of encoded prompts that are kept, 1 or more.
        isa: the instruction set, such as ``avx2``; None for the best that the CPU has.

        Raises
        ------
        MissingFileError: there is no such file.
        ModelError: the file is not a bundle, is damaged, or has untrained weights.
        CpuError: the CPU lacks the instruction set.
        OptionError: a number is out of its range.
        """
        options = {
            "threads": _whole_number("threads", threads, 1, 64),
            "confounders": bool(confounders),
            "cached_prompts": _whole_number("cached_prompts", cached_prompts, 1, 1 << 20),
            "allow_untrained": bool(allow_untrained),
            "isa": isa,
        }
        if path is None:
            return cls(None, options)
        name = os.fspath(path)
        if not isinstance(name, str):
            raise TypeError(f"path is a str or an os.PathLike of str, and this is {type(name).__name__}")
        if "\0" in name:
            raise ModelError("the path of the bundle has a null character: no file has such a name")
        # A worker may have another folder of its own.
        return cls(os.path.abspath(name), options)

    def _open(self) -> None:
        if self._path is not None and not os.path.exists(self._path):
            raise MissingFileError(f"{self._path}: there is no such bundle; check the path")
        self._native = _runtime.Model(self._path, **self._options)
        self._process = os.getpid()
        # Sessions that are not in use, by what they were made with. Taking and returning one are single operations of a deque,
        # so there is no lock that a fork could leave locked.
        self._idle: Deque[Tuple[Tuple[Optional[float], float], _runtime.Session]] = deque()

    def _opened(self) -> "_runtime.Model":
        if self._closed:
            raise ClosedError("the model was closed: open it again with Model.open")
        if self._process != os.getpid():
            _of_parents.append((self._native, self._idle))
            self._open()
            self._check_checksum()
        return self._native

    def _check_checksum(self) -> None:
        if self._sha256 is not None and self._native.sha256() != self._sha256:
            raise ModelError(
                f"{self._path or 'the model of this package'}: is another file than the one that was opened first; "
                "results of two models would be mixed: open it with Model.open"
            )

    def __enter__(self) -> "Model":
        self._opened()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model once the calls that use it have returned. Closing twice is allowed; findings stay usable."""
        if not self._closed:
            self._closed = True
            if self._process != os.getpid():
                _of_parents.append((self._native, self._idle))
            del self._native
            self._idle = deque()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def path(self) -> Optional[str]:
        """The bundle's absolute path; None for the model inside this package."""
        return self._path

    @property
    def name(self) -> str:
        """The model's name."""
        return self._opened().name

    @property
    def input_size(self) -> int:
        """The side of the network's square input, in pixels. Images of any size are resampled to it, and masks back."""
        return self._opened().input_size

    @property
    def threshold(self) -> float:
        """The probability above which a pixel is lesion, unless a call says otherwise."""
        return self._opened().threshold

    @property
    def sha256(self) -> str:
        """The checksum of the bundle, in hexadecimal: which model a result came from."""
        native = self._opened()
        if self._sha256 is None:
            self._sha256 = native.sha256()
        return self._sha256

    def encode(self, prompts: Prompts) -> None:
        """Encodes sentences and keeps them, so that the first image does not wait for them.

        Raises
        ------
        PromptError: a sentence is empty or too long, or there is none.
        """
        native = self._opened()
        for prompt in prompts_of(prompts):
            native.encode(prompt)

    def segment(
        self,
        image: Any,
        prompts: Prompts,
        *,
        threshold: Optional[float] = None,
        mm_per_pixel: Any = None,
        region: Any = None,
    ) -> List[Finding]:
        """Segments one image: one pass over the image for all prompts.

        Parameters
        ----------
        image: an array, a path of a picture or of a DICOM file with one frame, or a :class:`Frame`. Arrays are height x width
            (grey), height x width x 3 (RGB) or x 4 (RGBA; alpha is ignored), in any order of memory and either byte order: uint8;
            uint16 for grey, white is 65535; floats from 0 (black) to 1 (white). The pixels are copied.
        prompts: a sentence, or several, that describe the lesion.
        threshold: a pixel is lesion where its probability is above this; above 0 and below 1. None: as the model says.
        mm_per_pixel: the size of a pixel in millimetres, one number or (x, y). None: as the file says.
        region: the part of the image that the network sees, (x, y, width, height) in pixels. None: as the file says, or all of it.

        Returns
        -------
        One finding a prompt, in the prompts' order; masks have the image's height x width.

        Raises
        ------
        ImageError, ImageTypeError, MissingFileError, FileError, PromptError, OptionError, ClosedError; TypeError where an argument
        is of another type.
        """
        self._opened()
        texts = prompts_of(prompts)
        source = single_frame(image) if is_path(image) else image
        frame = frame_of(source, mm_per_pixel, region)
        kind = (_threshold(threshold), 0.0)
        session = self._take(kind)
        findings = _run(session, frame, texts, restart=True)
        self._idle.append((kind, session))
        return findings

    def segment_clip(
        self,
        clip: Any,
        prompts: Prompts,
        *,
        threshold: Optional[float] = None,
        smoothing: float = 0.0,
        mm_per_pixel: Any = None,
        region: Any = None,
    ) -> Iterator[List[Finding]]:
        """Segments successive frames, one after the other: a frame that equals the one before is flagged as frozen.

        Parameters
        ----------
        clip: the path of a file with several frames, or an iterable of arrays or frames, such as :func:`read_frames` yields.
        smoothing: the share of each pixel's probability that comes from the frames before, 0 or more and less than 1.
        prompts, threshold, mm_per_pixel, region: as in :meth:`segment`.

        Yields
        ------
        The findings of each frame, as :meth:`segment` returns them. Errors as there, when the frame is reached.
        """
        self._opened()
        texts = prompts_of(prompts)
        kind = (_threshold(threshold), float(smoothing))
        session = self._take(kind)
        frames: Iterable[Any] = read_frames(clip) if is_path(clip) else clip
        return self._clip(session, kind, iter(frames), texts, mm_per_pixel, region)

    def _clip(
        self, session: Any, kind: Any, frames: Iterator[Any], texts: Sequence[str], mm_per_pixel: Any, region: Any
    ) -> Iterator[List[Finding]]:
        process, restart = self._process, True
        for image in frames:
            self._opened()
            if self._process != process:
                raise Error("the process was forked within a clip: begin the clip again in the fork")
            yield _run(session, frame_of(image, mm_per_pixel, region), texts, restart=restart)
            restart = False
        if not self._closed:
            self._idle.append((kind, session))

    def segment_batch(
        self,
        images: Iterable[Any],
        prompts: Prompts,
        *,
        threads: Optional[int] = None,
        threshold: Optional[float] = None,
        mm_per_pixel: Any = None,
        region: Any = None,
        return_errors: bool = False,
    ) -> Iterator[Any]:
        """Segments many images on several threads; the interpreter's lock is released while pixels are read and computed.

        Parameters
        ----------
        images: what :meth:`segment` accepts, any number of them: an iterable is read only a little further than the results.
        threads: 1 or more; None for the number of cores that this process may use. Open the model with ``threads=1`` for this.
        return_errors: yield an image's :class:`Error` in the place of its findings, and go on. False: raise it.
        prompts, threshold, mm_per_pixel, region: as in :meth:`segment`.

        Yields
        ------
        The findings of each image, a list as :meth:`segment` returns it, in the images' order.
        """
        self.encode(prompts)
        texts = prompts_of(prompts)
        count = _cores() if threads is None else _whole_number("threads", threads, 1, 1024)
        if is_path(images):
            raise TypeError("images is one path: give a list of paths, or use segment")

        def one(image: Any) -> List[Finding]:
            return self.segment(image, texts, threshold=threshold, mm_per_pixel=mm_per_pixel, region=region)

        return _ordered(one, iter(images), count, return_errors)

    def _take(self, kind: Tuple[Optional[float], float]) -> "_runtime.Session":
        """A session for one thread. One that was made with other options is dropped, so that there are never more than threads."""
        try:
            other, session = self._idle.pop()
            if other == kind:
                return session
        except IndexError:
            pass
        return self._opened().session(*kind)

    def __reduce__(self) -> Tuple[Any, Tuple[Any, ...]]:
        return _reopened, (type(self), self._path, self._options, self.sha256)

    def __repr__(self) -> str:
        place = self._path or "inside the package"
        return f"<Model {place}, closed>" if self._closed else f"<Model {self.name} ({place}), {self.input_size} px>"


def _reopened(cls: Type[Model], path: Optional[str], options: Dict[str, Any], sha256: str) -> Model:
    model = cls(path, options)
    model._sha256 = sha256
    model._check_checksum()
    return model


def _run(session: "_runtime.Session", frame: Any, prompts: Sequence[str], *, restart: bool) -> List[Finding]:
    found, threshold, _ = session.run(frame, prompts, restart)
    return [Finding(prompt, threshold, native) for prompt, native in zip(prompts, found)]


def _ordered(work: Any, images: Iterator[Any], threads: int, return_errors: bool) -> Iterator[Any]:
    """Results in order, with a few images in work ahead of the one that is waited for."""
    with ThreadPoolExecutor(threads, thread_name_prefix="causalclipseg") as pool:
        running: Deque["Future[Any]"] = deque()
        try:
            while True:
                while len(running) < 2 * threads:
                    try:
                        running.append(pool.submit(work, next(images)))
                    except StopIteration:
                        break
                if not running:
                    return
                try:
                    result = running.popleft().result()
                except Error as error:
                    if not return_errors:
                        raise
                    result = error
                yield result
        finally:
            for future in running:
                future.cancel()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _whole_number(name: str, value: Any, least: int, most: int) -> int:
    try:
        number: int = value.__index__()
    except AttributeError:
        raise TypeError(f"{name} is {value!r}: give a whole number") from None
    if not least <= number <= most:
        raise OptionError(f"{name} is {number}: give {least} to {most}")
    return number


def _threshold(value: Any) -> Optional[float]:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"threshold is {value!r}: give a number above 0 and below 1") from None
