"""What several tests need: a phantom of the project, a model, the command."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import causalclipseg

REPOSITORY = Path(__file__).parents[2]
PHANTOM = REPOSITORY / "docs" / "images" / "phantom.png"
PROMPTS = ["a nodule near the bottom of the image", "a nodule near the top of the image"]


@pytest.fixture(scope="session")
def phantom_path():
    return PHANTOM


@pytest.fixture(scope="session")
def phantom():
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(PHANTOM).convert("L"))


@pytest.fixture(scope="session")
def model():
    with causalclipseg.Model.open() as model:
        yield model


@pytest.fixture(scope="session")
def command():
    """The command `causalclipseg`, by the variable CAUSALCLIPSEG or the search path."""
    found = os.environ.get("CAUSALCLIPSEG") or shutil.which("causalclipseg")
    if not found:
        pytest.skip("needs the command causalclipseg: name it in the variable CAUSALCLIPSEG")
    return found


def write_dicom(path, pixels, *, number=1, spacing=None):
    """A DICOM ultrasound file of uint8 pixels, frames x height x width or height x width."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1" if pixels.ndim == 3 else "1.2.840.10008.5.1.4.1.1.6.1"
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1001"
    data.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1002"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Doe^Jane", "17", "", ""
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "", "", "", ""
    data.ReferringPhysicianName = ""
    data.Modality, data.SeriesNumber, data.InstanceNumber = "US", 1, 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    if pixels.ndim == 3:
        data.NumberOfFrames = pixels.shape[0]
        data.FrameTime = 33.3
        data.FrameIncrementPointer = 0x00181063
    if spacing:
        data.PixelSpacing = [spacing, spacing]
    raw = pixels.tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data.save_as(path, enforce_file_format=True)
    return path
