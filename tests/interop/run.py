#!/usr/bin/env python3
"""Runs `segment` on DICOM sources of every kind, and on sample files where they are available, and checks the decoded frames and
the results with third-party readers and validators.

    python3 -m venv venv && venv/bin/pip install pydicom highdicom SimpleITK pillow numpy \
        pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls
    apt install dicom3tools dcmtk
    cargo build && venv/bin/python tests/interop/run.py

For every file: the frames equal those of pydicom, ITK or Pillow, within one grey level (two in a lossy JPEG whose chroma
has half the resolution: the readers differ as much among themselves); DICOM SEG and SR open in
highdicom, with masks and measurements equal to the PNG and JSON files; dciodvfy reports no error, dsrdump reads the SR. The same
again with --deidentify. Prints the skipped checks at the end, with reasons. Exit status 1 if any check failed.
"""
import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from PIL import Image

import reference
import sources
from check_segmentation import check_dicom, masks_as_written

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ["a nodule near the bottom of the image", "the lesion"]
# Truncated files, which must be refused.
MAY_BE_REFUSED = {"trunc.jpg", "jpeg3_last_frame_truncated.dcm"}


class Wrong(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def segment(command, path, out, formats, *more):
    prompts = [word for prompt in PROMPTS for word in ("-p", prompt)]
    # A low threshold, so that there are masks to compare.
    arguments = [command, "segment", path, *prompts, "--threshold", "0.1", "-o", out, "--format", formats, *more]
    return subprocess.run(arguments, capture_output=True, text=True)


def check_frames(path, out, stem, records):
    """Compares the decoded pictures, except those flagged as damaged. Returns the largest difference, in grey levels."""
    expected = reference.frames(path)
    count, most = len(records), reference.limit(path)
    expect(len(expected) == count, f"{count} frames, and the reference reader has {len(expected)}")
    worst = 0
    for index, (frame, record) in enumerate(zip(expected, records)):
        if "invalid_frame" in record["quality"]["flags"]:
            continue
        still = out / f"{stem}_frame.png"
        seen = Image.open(still if still.exists() else out / f"{stem}_f{index + 1:04}_frame.png")
        seen = np.asarray(seen, dtype=float) / (257 if seen.mode.startswith("I") else 1)
        difference = np.abs(reference.luma(seen) - reference.luma(frame))
        expect(seen.shape[:2] == np.asarray(frame).shape[:2], "of another size than the reference reader's")
        worst = max(worst, float(difference.max()))
    expect(worst <= most, f"frames differ by {worst:.1f} grey levels from the reference reader's")
    return worst


def validated(path):
    """dciodvfy's errors."""
    found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    lines = (found.stdout + found.stderr).splitlines()
    return sorted({line for line in lines if line.startswith("Error")})


def number_of(group, meaning):
    found = [measurement for measurement in group.get_measurements() if measurement.name.meaning == meaning]
    expect(len(found) <= 1, f"{len(found)} values of {meaning}")
    return found[0] if found else None


def check_report(path, out, stem, records, segmentation):
    report = highdicom.sr.srread(path)
    expect(report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33", "not a Comprehensive SR")
    planar = report.content.get_planar_roi_measurement_groups()
    others = report.content.get_image_measurement_groups()
    wanted = [(prompt, record) for prompt, all in enumerate(records) for record in all if record["area_px"] > 0]
    groups = planar if segmentation is not None else [group for group in others if number_of(group, "Long Axis")]
    expect(len(groups) == len(wanted), f"{len(groups)} groups for {len(wanted)} findings")
    for group, (prompt, record) in zip(groups, wanted):
        for meaning, value, unit in [
            ("Area", record["area_mm2"], "mm2"),
            ("Long Axis", record["longest_diameter"]["length_mm"], "mm"),
            ("Short Axis", record["perpendicular_diameter"]["length_mm"], "mm"),
        ]:
            number = number_of(group, meaning)
            expect(number is not None and number.value == value, f"{meaning} is not {value}")
            expect((number.unit.value, number.unit.scheme_designator) == (unit, "UCUM"), f"{meaning} in {number.unit}")
        expect(group.finding_type.meaning == "Lesion", "the finding is not a lesion")
        texts = [item.TextValue for item in group[0].ContentSequence if item.ValueType == "TEXT"]
        expect(PROMPTS[prompt] in texts, "the prompt is not among the findings")
        expect(group.tracking_identifier.startswith(f"{prompt + 1}: "), "tracking identifier")
        if segmentation is not None:
            referenced = group.referenced_segmentation_frame[0].ReferencedSOPSequence[0]
            expect(referenced.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID, "refers to another segmentation")
            frame = segmentation.PerFrameFunctionalGroupsSequence[referenced.ReferencedFrameNumber - 1]
            number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            expect(number == prompt + 1, f"refers to segment {number}")
            expect(group.tracking_uid == segmentation.SegmentSequence[number - 1].TrackingUID, "tracking UID")
            instance = frame.DerivationImageSequence[0].SourceImageSequence[0]
            expect(instance.get("ReferencedFrameNumber", 1) == record.get("frame", 1), "refers to another frame")
    expect(len(planar) + len(others) == len(wanted) + sum(not any(r["area_px"] for r in all) for all in records), "groups")
    dumped = subprocess.run(["dsrdump", path], capture_output=True, text=True)
    expect(dumped.returncode == 0 and "Measurement Group" in dumped.stdout, "dsrdump does not read it")


def check_placed(source, segmentation):
    """Checks sizes of pixels, and positions where the source has them."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    expect("PixelMeasuresSequence" in shared, "no Pixel Measures")
    if "FrameOfReferenceUID" not in source:
        return
    expect(segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID, "frame of reference")
    if "ImagePositionPatient" in source:
        frame = segmentation.PerFrameFunctionalGroupsSequence[0]
        expect(frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient, "position")
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        expect(orientation == source.ImageOrientationPatient, "orientation")
    if "PerFrameFunctionalGroupsSequence" in source:
        for frame in segmentation.PerFrameFunctionalGroupsSequence:
            instance = frame.DerivationImageSequence[0].SourceImageSequence[0]
            group = source.PerFrameFunctionalGroupsSequence[instance.ReferencedFrameNumber - 1]
            for name in ("PlanePositionSequence", "PlanePositionVolumeSequence"):
                if name in group:
                    expect(name in frame and frame[name][0] == group[name][0], f"{name} of a frame")


def check_file(command, path, folder, skipped):
    """Returns a line about one file."""
    out, stem = folder / "out", path.stem
    shutil.rmtree(out, ignore_errors=True)
    is_dicom = path.suffix == ".dcm"
    formats = "frame,mask,json" + (",dicom-seg,dicom-sr" if is_dicom else "")
    ran = segment(command, path, out, formats)
    with_report = is_dicom
    if "millimetres" in ran.stderr:
        with_report = False
        skipped.append(f"{path.name}: no SR, as the size of its pixels is unknown")
        ran = segment(command, path, out, "frame,mask,json,dicom-seg")
    if ran.returncode != 0:
        reason = ran.stderr.strip().splitlines()[-1].removeprefix("error: ").replace(str(path), path.name)
        expect(path.name in MAY_BE_REFUSED, f"refused: {reason}")
        return f"refused, which is right: {reason}"
    records = []
    for prompt in range(len(PROMPTS)):
        record = json.loads((out / f"{stem}_{prompt + 1}.json").read_text())
        records.append(record.get("frames", [record]))
    count = len(records[0])
    try:
        told = f"{count} frame{'s' if count > 1 else ''} within {check_frames(path, out, stem, records[0]):.2f} grey levels"
    except reference.CannotRead as error:
        skipped.append(f"{path.name}: frames not compared, {error}")
        told = f"{count} frames"
    if not is_dicom:
        return told
    written = [out / f"{stem}_seg.dcm"] + [out / f"{stem}_sr.dcm"] * with_report
    for file in written:
        errors = validated(file)
        expect(not errors, f"dciodvfy on {file.name}: {errors}")
    segmentation = pydicom.dcmread(written[0])
    try:
        source = pydicom.dcmread(path, force=True)
    except Exception:
        skipped.append(f"{path.name}: SEG not compared with its source, which pydicom does not open")
        return told + ", SEG" + ", SR" * with_report
    if count == int(source.get("NumberOfFrames", 1) or 1):
        # Compared with the source's names as pydicom decodes them.
        with contextlib.redirect_stdout(io.StringIO()):
            check_dicom(source, written[0], masks_as_written(out, stem, count, len(PROMPTS)))
    if with_report:
        check_placed(source, segmentation)
        check_report(written[1], out, stem, records, segmentation)
        # The same without a segmentation to refer to.
        ran = segment(command, path, out, "dicom-sr")
        expect(ran.returncode == 0 and not validated(written[1]), "an SR without a SEG")
        check_report(written[1], out, stem, records, None)
    check_deidentified(command, path, out, source, records[0][0], with_report)
    return told + ", SEG" + ", SR" * with_report


def check_deidentified(command, path, out, source, record, with_report):
    shutil.rmtree(out, ignore_errors=True)
    region = ["--region", f"0,0,{record['width']},{record['height']}"]
    ran = segment(command, path, out, "json,dicom-seg" + ",dicom-sr" * with_report, "--deidentify", *region)
    expect(ran.returncode == 0, f"--deidentify: {ran.stderr}")
    for file in sorted(out.glob("*.dcm")):
        errors = validated(file)
        expect(not errors, f"dciodvfy on the de-identified {file.name}: {errors}")
        dataset = pydicom.dcmread(file)
        expect(not dataset.PatientName and not dataset.PatientID, "a name")
        raw = file.read_bytes()
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            uid = str(source.get(name, ""))
            expect(not uid or uid.encode() not in raw, f"the source's {name} in {file.name}")
        expect(dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100", "profile")
    if with_report:
        highdicom.sr.srread(out / "0001_sr.dcm")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=ROOT / "target/debug/causalclipseg", type=Path)
    parser.add_argument("--cases", default=ROOT / "../shared/cases/formats", type=Path, help="a folder of sample files")
    parser.add_argument("--only", help="check only files whose names contain this text")
    arguments = parser.parse_args()
    for tool in ("dciodvfy", "dsrdump"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed; apt install dicom3tools dcmtk")
    skipped, wrong, checked = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = []
        for name, source in sources.make(Image.open(ROOT / "docs/images/phantom.png").convert("L").resize((200, 150))):
            paths.append(folder / f"{name}.dcm")
            source.save_as(paths[-1], enforce_file_format=True)
        if arguments.cases.is_dir():
            paths += sorted(path for path in arguments.cases.iterdir() if path.suffix != ".md")
        else:
            skipped.append(f"sample files: {arguments.cases} does not exist; --cases names a folder of sample files")
        for path in paths:
            if arguments.only and arguments.only not in path.name:
                continue
            checked += 1
            try:
                print(f"ok     {path.name}: {check_file(arguments.command, path, folder, skipped)}")
            # Readers raise different exceptions on unsupported files.
            except Exception as error:
                wrong += 1
                kind = "" if isinstance(error, Wrong) else f"{type(error).__name__}: "
                print(f"WRONG  {path.name}: {kind}{' '.join(str(error).split())[:400]}")
            sys.stdout.flush()
    for line in skipped:
        print(f"skipped  {line}")
    print(f"{checked} files, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
