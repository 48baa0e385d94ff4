#!/usr/bin/env python3
"""Checks the results of `segment --format mask,dicom-seg,mha` for one DICOM file with third-party readers.

needs: pydicom, highdicom, numpy, pillow; SimpleITK for the MetaImage files
usage: check_segmentation.py SOURCE.dcm FOLDER
"""
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from PIL import Image


def masks_as_written(folder, stem, frames, prompts):
    """The masks of all prompts and frames from the PNG files: prompts x frames x rows x columns of 0 and 1."""

    def mask(frame, prompt):
        name = stem + (f"_f{frame + 1:04}" if frames > 1 else "") + (f"_{prompt + 1}" if prompts > 1 else "")
        return np.asarray(Image.open(folder / f"{name}_mask.png")) // 255

    return np.stack([np.stack([mask(frame, prompt) for frame in range(frames)]) for prompt in range(prompts)])


def check_dicom(source, path, expected):
    plain = pydicom.dcmread(path)
    for tag in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert str(plain.get(tag, "")) == str(source.get(tag, "")), tag
    assert plain.SeriesInstanceUID != source.SeriesInstanceUID
    segmentation = highdicom.seg.segread(path)
    assert segmentation.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY
    assert segmentation.number_of_segments == len(expected)
    numbers = list(segmentation.segment_numbers)
    studies = segmentation.get_source_image_uids()
    assert [uids[2] for uids in studies] == [source.SOPInstanceUID], studies
    if expected.shape[1] > 1:
        pixels = segmentation.get_pixels_by_source_frame(
            source_sop_instance_uid=source.SOPInstanceUID,
            source_frame_numbers=range(1, expected.shape[1] + 1),
            segment_numbers=numbers,
            assert_missing_frames_are_empty=True,
        )
    else:
        pixels = segmentation.get_pixels_by_source_instance(
            source_sop_instance_uids=[source.SOPInstanceUID],
            segment_numbers=numbers,
            assert_missing_frames_are_empty=True,
        )
    # frames x rows x columns x segments
    np.testing.assert_array_equal(pixels.transpose(3, 0, 1, 2), expected)
    for number in numbers:
        segment = segmentation.get_segment_description(number)
        print(f"  segment {number}: {segment.segment_label!r}, {int(expected[number - 1].sum())} pixels")


def check_meta_image(path, expected):
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), expected)
    print(f"  {path.name}: {image.GetSize()}, spacing {image.GetSpacing()}")


def main():
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    source = pydicom.dcmread(path)
    print(path.name)
    segmentation = folder / f"{path.stem}_seg.dcm"
    prompts = len(pydicom.dcmread(segmentation).SegmentSequence)
    frames = int(source.get("NumberOfFrames", 1))
    expected = masks_as_written(folder, path.stem, frames, prompts)
    check_dicom(source, segmentation, expected)
    for prompt in range(prompts):
        number = f"_{prompt + 1}" if prompts > 1 else ""
        ending = "_mask.seq.mha" if frames > 1 else "_mask.mha"
        check_meta_image(folder / f"{path.stem}{number}{ending}", expected[prompt])
    print("  equal to the PNG masks")


if __name__ == "__main__":
    main()
