"""What a worker does: the rows of some files."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Iterable, List, Optional, Tuple

import pyarrow as pa

from .. import _runtime
from ..errors import Error
from ..frames import FrameReader, read_frames
from ..model import Model
from .inputs import content
from .rows import Row, error_rows, found_row, table


@dataclass(frozen=True)
class Settings:
    """What decides a job's rows. Another value of any field is another job."""

    #: Sentences, one row of each frame for each.
    prompts: Tuple[str, ...]
    #: The bundle; None for the model in the package.
    model: Optional[str] = None
    #: The checksum of the bundle: a worker with another file refuses to work.
    model_sha256: str = ""
    #: None: the model's.
    threshold: Optional[float] = None
    #: The size of a pixel, (x, y); None: as the file says.
    mm_per_pixel: Optional[Tuple[float, float]] = None
    #: A folder for DICOM SEG files; None: none are written.
    segmentations: Optional[str] = None


class Segmenter:
    """A model in a worker: :meth:`segment` makes the rows of files, and a file that fails has rows that say so."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = Model.open(settings.model)
        if self.model.sha256 != settings.model_sha256:
            raise Error(f"{settings.model or 'the model of the package'}: differs from that of the job; install one version everywhere")
        self.model.encode(settings.prompts)

    def segment(self, names: Iterable[str]) -> pa.Table:
        """One table of all frames of all files."""
        rows: List[Row] = []
        for name in names:
            rows.extend(self.rows(name))
        return table(rows)

    def rows(self, name: str) -> List[Row]:
        """The rows of one file. Frames before an error are kept."""
        settings, rows, frame = self.settings, [], None
        try:
            reader = read_frames(name, content=content(name))
            study, series, instance = reader.uids
            segmentation = self._segmentation(reader)
            same = {"input": name, "study_uid": study, "series_uid": series, "instance_uid": instance}
            same["model_sha256"] = settings.model_sha256
            frame = None if reader.is_still else 1
            sizes: List[Any] = []
            clip = self.model.segment_clip(
                _noting(reader, sizes), settings.prompts, threshold=settings.threshold, mm_per_pixel=settings.mm_per_pixel
            )
            for index, findings in enumerate(clip):
                timestamp_s, size = sizes.pop()
                x, y = settings.mm_per_pixel or size or (None, None)
                if segmentation is not None:
                    segmentation.push(index, settings.mm_per_pixel or size, [finding.native for finding in findings])
                for number, finding in enumerate(findings):
                    row = {**same, **found_row(number, finding), "frame": frame, "timestamp_s": timestamp_s}
                    rows.append({**row, "mm_per_pixel_x": x, "mm_per_pixel_y": y})
                frame = None if frame is None else frame + 1
            if segmentation is not None:
                path = self._segmentation_path(name)
                segmentation.write(path)
                for row in rows:
                    row["segmentation"] = os.path.basename(path)
        except (Error, OSError, MemoryError) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            rows.extend(error_rows(name, frame, settings.prompts, message, settings.model_sha256))
        return rows

    def _segmentation(self, reader: FrameReader) -> Optional["_runtime.Segmentation"]:
        if self.settings.segmentations is None:
            return None
        return _runtime.Segmentation.of(reader._native, self.model._opened(), list(self.settings.prompts))

    def _segmentation_path(self, name: str) -> str:
        # By the whole path, since archives have many files of one name; the same name again replaces its own file.
        stem = os.path.splitext(os.path.basename(name.rstrip("/")))[0][:80]
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return os.path.join(self.settings.segmentations or "", f"{stem}_{digest}_seg.dcm")


def _noting(reader: FrameReader, sizes: List[Any]) -> Iterable[Any]:
    for frame in reader:
        sizes.append((frame.timestamp_s, frame.mm_per_pixel))
        yield frame
