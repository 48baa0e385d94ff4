"""Frames as other readers decode them: pydicom, ITK and Pillow. 8-bit grey or RGB, one array per frame."""
import gzip
import re
import struct
import warnings

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array


class CannotRead(Exception):
    """The reference reader does not read this file either."""


def full_range(values, low=None, high=None):
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255


def dicom(path):
    warnings.simplefilter("ignore")
    try:
        dataset = pydicom.dcmread(path, force=True)
        if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        if dataset.get("NumberOfFrames") == 0:
            dataset.NumberOfFrames = 1
        array = pixel_array(dataset)
    except Exception as error:
        raise CannotRead(f"pydicom: {error}") from error
    photometric = dataset.PhotometricInterpretation
    announced = int(dataset.get("NumberOfFrames", 1) or 1)
    # pydicom also reads frames beyond the announced number.
    frames = list(array)[:announced] if announced > 1 else [array]
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        # Colours are not signed, whatever the attribute says.
        frames = [frame.view(np.uint8) if frame.dtype == np.int8 else frame for frame in frames]
    if photometric == "PALETTE COLOR":
        # Tables have 16 bits, of which some files use eight.
        frames = [apply_color_lut(frame, dataset) for frame in frames]
        return [frame / 257 if frame.max() > 255 else frame for frame in frames]
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return frames
    inverted = (photometric == "MONOCHROME1") != (dataset.get("PresentationLUTShape") == "INVERSE")
    width = dataset.get("WindowWidth")
    windowed = "VOILUTSequence" in dataset or (width is not None and np.all(np.atleast_1d(width) >= 1))
    shown = []
    for frame in frames:
        values = np.asarray(apply_modality_lut(frame, dataset), dtype=float)
        if windowed:
            values = np.asarray(apply_voi_lut(values if "VOILUTSequence" not in dataset else frame, dataset), dtype=float)
            bits = dataset.VOILUTSequence[0].LUTDescriptor[2] if "VOILUTSequence" in dataset else dataset.BitsStored
            values = full_range(values, 0, 2**bits - 1)
        else:
            # By the bits that the values need, as the announced ones are often not used.
            values = full_range(values, 0, 2 ** max(8, int(values.max()).bit_length()) - 1)
        shown.append(255 - values if inverted else values)
    return shown


def picture(path):
    try:
        image = Image.open(path)
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            # Results are in the coordinates of the stored pixels, whatever the orientation.
            frame = image.copy()
            if frame.mode.startswith("I"):
                frames.append(np.asarray(frame, dtype=float))
            else:
                frames.append(np.asarray(frame.convert("L" if frame.mode in ("L", "1") else "RGB")))
        if frames[0].dtype == float:
            # By the bits that the values of all pages need.
            white = 2 ** max(8, int(max(frame.max() for frame in frames)).bit_length()) - 1
            frames = [full_range(frame, 0, white) for frame in frames]
        return frames
    except Exception as error:
        raise CannotRead(f"Pillow: {error}") from error


def gzip_meta_image(path):
    """A grey MetaImage with a gzip stream, which ITK 5.4 does not decompress; None for any other."""
    header, found, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    if not found or not pixels.startswith(b"\x1f\x8b") or b"MET_UCHAR" not in header:
        return None
    columns, rows = map(int, re.search(rb"DimSize = (\d+) (\d+)\n", header).groups())
    return [np.frombuffer(gzip.decompress(pixels), np.uint8).reshape(rows, columns)]


def itk(path):
    import SimpleITK

    packed = gzip_meta_image(path)
    if packed is not None:
        return packed
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise CannotRead("ITK: " + " ".join(str(error).split())[-120:]) from error
    array = SimpleITK.GetArrayFromImage(image)
    return list(array) if image.GetDimension() == 3 else [array]


def frames(path):
    if path.suffix == ".dcm":
        try:
            return dicom(path)
        except (KeyError, ValueError, struct.error) as error:
            raise CannotRead(f"pydicom: {error}") from error
    if path.suffix in (".mha", ".mhd", ".nrrd", ".nii", ".gz"):
        return itk(path)
    return picture(path)


def luma(frame):
    frame = np.asarray(frame, dtype=float)
    return frame if frame.ndim == 2 else frame[..., :3] @ [0.299, 0.587, 0.114]


def limit(path):
    """The number of grey levels by which readers may differ. Each smooths chroma of half the resolution differently: Pillow and
    ffmpeg differ by 2.2 levels on one of the sample files."""
    if path.suffix == ".dcm":
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
        halved = syntax == "1.2.840.10008.1.2.4.50" and dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
    elif path.suffix == ".jpg":
        # Identifier, horizontal and vertical factor, table.
        halved = any(layer[1:3] != (1, 1) for layer in Image.open(path).layer)
    else:
        halved = False
    return 2.01 if halved else 1.01
