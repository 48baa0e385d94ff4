"""The columns of a result, and the rows of what was found."""

from typing import Any, Dict, List, Optional, Sequence

import pyarrow as pa

from .. import rle
from ..findings import Diameter, Finding

#: Frames are counted from 1; ``frame`` is null for a picture, and in the rows of a file that could not be opened. ``mask_counts`` are
#: the mask's runs (:mod:`causalclipseg.rle`, COCO's order) of height x width pixels. ``error`` is null where there is a result, and
#: everything else after ``prompt`` is null where there is an error.
SCHEMA = pa.schema(
    [
        pa.field("input", pa.string(), nullable=False),
        pa.field("frame", pa.int32()),
        pa.field("prompt_number", pa.int32(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("study_uid", pa.string()),
        pa.field("series_uid", pa.string()),
        pa.field("instance_uid", pa.string()),
        pa.field("timestamp_s", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("mm_per_pixel_x", pa.float32()),
        pa.field("mm_per_pixel_y", pa.float32()),
        pa.field("area_px", pa.int64()),
        pa.field("area_fraction", pa.float64()),
        pa.field("area_mm2", pa.float64()),
        pa.field("bbox", pa.list_(pa.int32())),
        pa.field("centroid", pa.list_(pa.float64())),
        pa.field("longest_diameter_px", pa.float64()),
        pa.field("longest_diameter_mm", pa.float64()),
        pa.field("perpendicular_diameter_px", pa.float64()),
        pa.field("perpendicular_diameter_mm", pa.float64()),
        pa.field("mean_probability", pa.float64()),
        pa.field("max_probability", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("expected_dice", pa.float64()),
        pa.field("present", pa.bool_()),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("threshold", pa.float32()),
        pa.field("mask_counts", pa.list_(pa.int32())),
        pa.field("segmentation", pa.string()),
        pa.field("model_sha256", pa.string(), nullable=False),
    ]
)

Row = Dict[str, Any]


def found_row(number: int, finding: Finding) -> Row:
    """What a finding says, without the columns that say which image it is of."""
    measured, quality = finding.measurements, finding.quality
    height, width = finding.mask.shape
    return {
        "prompt_number": number,
        "prompt": finding.prompt,
        "width": width,
        "height": height,
        "area_px": measured.area_px,
        "area_fraction": measured.area_fraction,
        "area_mm2": measured.area_mm2,
        "bbox": measured.bbox,
        "centroid": measured.centroid,
        "longest_diameter_px": _length(measured.longest_diameter, "length_px"),
        "longest_diameter_mm": _length(measured.longest_diameter, "length_mm"),
        "perpendicular_diameter_px": _length(measured.perpendicular_diameter, "length_px"),
        "perpendicular_diameter_mm": _length(measured.perpendicular_diameter, "length_mm"),
        "mean_probability": measured.mean_probability,
        "max_probability": quality.max_probability,
        "score": quality.score,
        "expected_dice": quality.expected_dice,
        "present": quality.present,
        "flags": quality.flags,
        "threshold": finding.threshold,
        "mask_counts": rle.encode(finding.mask),
    }


def _length(diameter: Optional[Diameter], name: str) -> Optional[float]:
    return None if diameter is None else getattr(diameter, name)


def error_rows(name: str, frame: Optional[int], prompts: Sequence[str], error: str, model_sha256: str) -> List[Row]:
    """One row a prompt for what could not be read or segmented."""
    return [
        {"input": name, "frame": frame, "prompt_number": number, "prompt": prompt, "error": error, "model_sha256": model_sha256}
        for number, prompt in enumerate(prompts)
    ]


def table(rows: List[Row]) -> pa.Table:
    """Rows as a table; a column that a row lacks is null in it."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)
