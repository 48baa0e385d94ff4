"""Writes the frames of DICOM files as pydicom decodes and shows them, for tests/dicom.rs to compare with.

usage: dicom_reference.py CASES OUT, with pydicom, pylibjpeg, pylibjpeg-libjpeg, pylibjpeg-openjpeg, pyjpegls and numpy.
Per file OUT/<stem>.raw: all frames, 8 bits a sample, grey or RGB; files that pydicom does not decode are named and left out.
Then: CAUSALCLIPSEG_REFERENCE=OUT cargo test --test dicom
"""

import sys
from pathlib import Path

import numpy
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array


def frames(path):
    dataset = pydicom.dcmread(path, force=True)
    baseline = dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    # Readers of subsampled JPEG differ by three levels among themselves; Pillow's libjpeg-turbo is the common one.
    pixels = pixel_array(dataset, decoding_plugin="pillow" if baseline else "")
    if dataset.SamplesPerPixel == 3:
        return pixels.astype(numpy.uint8)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return (apply_color_lut(pixels, dataset) >> 8).astype(numpy.uint8)
    has_window = "VOILUTSequence" in dataset or float(dataset.get("WindowWidth", 0) or 0) >= 1
    if not has_window:
        # The bits that the values need are the scale.
        bits = max(8, int(pixels.max()).bit_length())
        shown = pixels.astype(float) * 255 / ((1 << bits) - 1)
    else:
        shown = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(float)
        if "VOILUTSequence" in dataset:
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            shown = shown * 255 / ((1 << bits) - 1)
        else:
            shown = shown * 255 / ((1 << dataset.BitsStored) - 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shown = 255 - shown
    return numpy.clip(numpy.rint(shown), 0, 255).astype(numpy.uint8)


def main():
    cases, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(cases.glob("*.dcm")):
        try:
            found = frames(path)
        except Exception as error:
            print(f"{path.name}: left out ({type(error).__name__}: {str(error).splitlines()[0][:100]})")
            continue
        (out / f"{path.stem}.raw").write_bytes(found.tobytes())
        print(f"{path.name}: {found.shape}")


main()
