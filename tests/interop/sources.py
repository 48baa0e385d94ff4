"""Sources of every kind that a DICOM result may refer to, generated with pydicom from one picture."""
import io

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    EnhancedUSVolumeStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

PREFIX = "1.2.826.0.1.3680043.10.999."
STUDY = generate_uid(PREFIX)


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def patient(sop_class, syntax=ExplicitVRLittleEndian):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(PREFIX)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, generate_uid(PREFIX)
    dataset.PatientName, dataset.PatientID = "Interop^Phantom", "INTEROP-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260102", "030405", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "2", "Doe^John"
    dataset.Modality = "US"
    return dataset


def pixels(dataset, array, photometric, frames=None):
    colour = array.ndim == (4 if frames else 3)
    dataset.Rows, dataset.Columns = array.shape[1:3] if frames else array.shape[:2]
    if frames:
        dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    return dataset


def region(dataset, mm=(0.2, 0.2)):
    dataset.SequenceOfUltrasoundRegions = Sequence([
        item(
            RegionSpatialFormat=1, RegionDataType=1, RegionFlags=0,
            RegionLocationMinX0=0, RegionLocationMinY0=0,
            RegionLocationMaxX1=dataset.Columns - 1, RegionLocationMaxY1=dataset.Rows - 1,
            PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3,
            PhysicalDeltaX=mm[0] / 10, PhysicalDeltaY=mm[1] / 10,
        )
    ])
    return dataset


def make(picture):
    """Yields name and file of each source. `picture` is grey."""
    grey = np.asarray(picture)
    colour = np.stack([grey, grey, np.minimum(grey.astype(int) + 10, 255).astype(np.uint8)], axis=-1)
    clip = np.stack([np.roll(grey, shift, axis=1) for shift in (0, 3, 6)])

    yield "us_single", region(pixels(patient(UltrasoundImageStorage), colour, "RGB"))

    source = region(pixels(patient(UltrasoundMultiFrameImageStorage), clip, "MONOCHROME2", 3), mm=(0.2, 0.3))
    source.FrameTime, source.FrameIncrementPointer = "40", 0x00181063
    yield "us_clip", source

    source = region(pixels(patient(UltrasoundImageStorage), 255 - grey, "PALETTE COLOR"))
    for name in ("Red", "Green", "Blue"):
        setattr(source, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ramp = (np.arange(255, -1, -1) * 257).astype("<u2")
        setattr(source, f"{name}PaletteColorLookupTableData", ramp.tobytes())
    yield "us_palette", source

    luma = np.stack([clip, np.full_like(clip, 120), np.full_like(clip, 134)], axis=-1)
    yield "us_ybr_clip", region(pixels(patient(UltrasoundMultiFrameImageStorage), luma, "YBR_FULL", 3))

    source = region(pixels(patient(UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit), luma, "YBR_FULL_422", 3))
    frames = []
    for frame in clip:
        file = io.BytesIO()
        Image.fromarray(np.stack([frame] * 3, axis=-1)).save(file, "JPEG", quality=95, subsampling=1)
        frames.append(file.getvalue())
    source.PixelData = encapsulate(frames)
    source["PixelData"].is_undefined_length = True
    source.LossyImageCompression, source.LossyImageCompressionMethod = "01", "ISO_10918_1"
    source.LossyImageCompressionRatio = round(luma.nbytes / sum(map(len, frames)), 2)
    yield "us_jpeg_clip", source

    yield "us_without_mm", pixels(patient(UltrasoundImageStorage), grey, "MONOCHROME2")

    source = pixels(patient(SecondaryCaptureImageStorage), grey, "MONOCHROME2")
    source.ConversionType, source.PixelSpacing = "WSD", [0.25, 0.2]
    yield "secondary_capture", source

    # As from a tracked probe: a position in the patient.
    source = region(pixels(patient(UltrasoundImageStorage), grey, "MONOCHROME2"))
    source.FrameOfReferenceUID, source.PositionReferenceIndicator = generate_uid(PREFIX), ""
    source.ImagePositionPatient, source.ImageOrientationPatient = [-10.5, 20, 3], [0, 1, 0, 0, 0, -1]
    yield "us_placed", source

    source = pixels(patient(EnhancedUSVolumeStorage), clip, "MONOCHROME2", 3)
    source.FrameOfReferenceUID = generate_uid(PREFIX)
    source.SharedFunctionalGroupsSequence = Sequence([
        item(
            PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.3, 0.2], SliceThickness="1.5")]),
            PlaneOrientationVolumeSequence=Sequence([item(ImageOrientationVolume=[1.0, 0, 0, 0, 1.0, 0])]),
        )
    ])
    source.PerFrameFunctionalGroupsSequence = Sequence([
        item(PlanePositionVolumeSequence=Sequence([item(ImagePositionVolume=[0.0, 0.0, 1.5 * frame])]))
        for frame in range(3)
    ])
    yield "enhanced_us_volume", source
