"""Frames as other readers see them: pydicom, ITK and Pillow. 8-bit grey or RGB, one array a frame."""
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
    frames = list(array) if int(dataset.get("NumberOfFrames", 1) or 1) > 1 else [array]
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
            # By the bits that the values take, as those that are announced are often not used.
            values = full_range(values, 0, 2 ** max(8, int(values.max()).bit_length()) - 1)
        shown.append(255 - values if inverted else values)
    return shown


def picture(path):
    try:
        image = Image.open(path)
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            # Results lie on the pixels as they are stored, whatever is noted beside them.
            frame = image.copy()
            if frame.mode.startswith("I"):
                frames.append(full_range(np.asarray(frame, dtype=float), 0))
            else:
                frames.append(np.asarray(frame.convert("L" if frame.mode in ("L", "1") else "RGB")))
        return frames
    except Exception as error:
        raise CannotRead(f"Pillow: {error}") from error


def itk(path):
    import SimpleITK

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
