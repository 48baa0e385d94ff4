#!/usr/bin/env python3
"""Tests `causalclipseg dicom-node` with a real archive, Orthanc, and with DCMTK's commands where they are installed.

needs: Orthanc (Debian's `orthanc`), pydicom, highdicom, numpy, pillow; optionally dcmtk, dicom3tools, openssl
usage: orthanc_node.py COMMAND [--orthanc PATH]

COMMAND is the causalclipseg binary. Orthanc is started on loopback, with folders of its own. Ultrasound images and a clip are
uploaded by REST and forwarded to the node; SEG and SR come back with storage commitment, and are read from Orthanc's REST
answer with highdicom. Then the node is killed with SIGKILL between storage and delivery, and started again: each result is
in Orthanc once. Prints what was skipped, with the reason. Exit status 1 if a check failed.
"""
import argparse
import atexit
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import highdicom
import pydicom
from PIL import Image
from pydicom.uid import CTImageStorage, generate_uid

import sources

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a nodule near the bottom of the image"
AET = "CAUSALCLIPSEG"
skipped = []


def expect(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"FAILED: {what} did not happen within {seconds} s")


class Orthanc:
    """An archive with an empty data base."""

    def __init__(self, path, folder, node_port):
        self.http, self.dicom = free_port(), free_port()
        configuration = {
            "Name": "interop",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": True,
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowEcho": False,
            "DicomModalities": {
                "node": {
                    "AET": AET,
                    "Host": "127.0.0.1",
                    "Port": node_port,
                    "AllowEcho": True,
                    "AllowStore": True,
                    "AllowStorageCommitment": True,
                }
            },
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.log = (folder / "orthanc.log").open("w")
        self.process = subprocess.Popen([path, folder / "orthanc.json"], stdout=self.log, stderr=self.log)
        wait_for("Orthanc's start", self.is_up)

    def is_up(self):
        try:
            return self.get("system")
        except OSError:
            return None

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{path}", timeout=60) as answer:
            data = answer.read()
        return data if path.endswith("/file") else json.loads(data)

    def post(self, path, data):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/{path}", data=data, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            sys.exit(f"FAILED: Orthanc answers {path} with {error.code}: {error.read().decode(errors='replace')}")

    def upload(self, dataset):
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        return self.post("instances", file.getvalue())["ID"]

    def forward(self, *instances):
        self.post("modalities/node/store", json.dumps(list(instances)).encode())

    def objects(self, modality):
        """The instances of a modality, opened."""
        found = []
        for series in self.get("series"):
            description = self.get(f"series/{series}")
            if description["MainDicomTags"]["Modality"] == modality:
                found += [self.get(f"instances/{instance}/file") for instance in description["Instances"]]
        return [pydicom.dcmread(io.BytesIO(data)) for data in found]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Node:
    def __init__(self, command, port, queue, orthanc, *more):
        arguments = [command, "-v", "dicom-node", "--aet", AET, "--port", str(port), "--bind", "127.0.0.1"]
        arguments += ["--send", f"ORTHANC@127.0.0.1:{orthanc.dicom}", "--allow", "ORTHANC", "--allow", "STORESCU"]
        # A low threshold, so that there are masks.
        arguments += ["-p", PROMPT, "--threshold", "0.1", "--queue", queue, "--format", "json", *more]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        line = self.process.stderr.readline()
        while line and "is listening on" not in line:
            line = self.process.stderr.readline()
        if not line:
            sys.exit(f"FAILED: the node does not start: {self.process.communicate()}")

    def summary(self):
        try:
            out, errors = self.process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit(f"FAILED: the node does not end: {self.process.communicate()[1]}")
        expect(self.process.returncode == 0, f"the node ended with {self.process.returncode}: {errors}")
        return json.loads(out)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.summary()

    def kill(self):
        self.process.kill()
        self.process.wait()


def validated(dataset, folder):
    """dciodvfy's errors."""
    if not shutil.which("dciodvfy"):
        skipped.append("dciodvfy is missing: objects are opened, but not validated")
        return
    path = folder / "validated.dcm"
    dataset.save_as(path)
    ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    errors = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")]
    expect(not errors, f"dciodvfy: {errors}")


def check_results(orthanc, uploaded, folder):
    """Each source has one SEG, and one SR where its pixels have a size, all of which highdicom opens."""
    by_source = {}
    for dataset in orthanc.objects("SEG"):
        segmentation = highdicom.seg.Segmentation.from_dataset(dataset)
        referenced = {uids[2] for uids in segmentation.get_source_image_uids()}
        expect(len(referenced) == 1, "a SEG of several sources")
        by_source.setdefault((referenced.pop(), "SEG"), []).append(dataset)
        expect(segmentation.get_segment_description(1).segment_label == PROMPT, "the label is not the prompt")
        validated(dataset, folder)
    for dataset in orthanc.objects("SR"):
        report = highdicom.sr.ComprehensiveSR.from_dataset(dataset)
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        instances = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
        source = [uid for uid in instances if uid in {dataset.SOPInstanceUID for dataset in uploaded}]
        expect(len(source) == 1, f"an SR of {source}")
        segmentations = {dataset.SOPInstanceUID for (_, kind), all in by_source.items() if kind == "SEG" for dataset in all}
        expect(len(instances & segmentations) == 1, "the SR does not refer to its SEG")
        by_source.setdefault((source[0], "SR"), []).append(dataset)
        validated(dataset, folder)
    for dataset in uploaded:
        kinds = ["SEG"] + ["SR"] * ("SequenceOfUltrasoundRegions" in dataset)
        for kind in ("SEG", "SR"):
            found = by_source.get((dataset.SOPInstanceUID, kind), [])
            expect(len(found) == kinds.count(kind), f"{len(found)} {kind} of {dataset.SOPInstanceUID}")
            for result in found:
                expect(result.StudyInstanceUID == dataset.StudyInstanceUID, "another study")
                expect(result.PatientID == dataset.PatientID, "another patient")
    print(f"  {sum(map(len, by_source.values()))} results of {len(uploaded)} instances, each once, opened with highdicom")


def ran(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=60)


def with_dcmtk(port, folder, dataset):
    if not (shutil.which("echoscu") and shutil.which("storescu")):
        skipped.append("DCMTK's echoscu and storescu are missing")
        return
    at = ["127.0.0.1", str(port)]
    expect(ran("echoscu", "-aet", "STORESCU", "-aec", AET, *at).returncode == 0, "echoscu")
    wrong = ran("echoscu", "-aet", "STORESCU", "-aec", "WRONG", *at)
    expect(wrong.returncode != 0 and "Called AE Title Not Recognized" in wrong.stderr, f"a wrong title: {wrong.stderr}")
    wrong = ran("echoscu", "-aet", "STRANGER", "-aec", AET, *at)
    expect(wrong.returncode != 0 and "Calling AE Title Not Recognized" in wrong.stderr, f"a stranger: {wrong.stderr}")
    path = folder / "send.dcm"
    dataset.save_as(path, enforce_file_format=True)
    stored = ran("storescu", "-v", "-aet", "STORESCU", "-aec", AET, *at, path)
    expect(stored.returncode == 0 and "Success" in stored.stderr + stored.stdout, f"storescu: {stored.stderr}")
    tomography = pydicom.dcmread(path)
    tomography.SOPClassUID = tomography.file_meta.MediaStorageSOPClassUID = CTImageStorage
    tomography.save_as(path)
    refused = ran("storescu", "-aet", "STORESCU", "-aec", AET, *at, path)
    expect(refused.returncode != 0 and "presentation context" in refused.stderr.lower(), f"CT: {refused.stderr}")
    print("  DCMTK: echo, storage, wrong titles, a class that is not ultrasound")


def certificates(folder):
    script = """
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -addext basicConstraints=critical,CA:TRUE \
            -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj /CN=node -keyout node.key -out node.csr
        printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE' > node.ext
        openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile node.ext -out node.pem
    """
    return subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True).returncode == 0


def with_tls(command, orthanc, folder, dataset):
    if "--tls-cert" not in ran(command, "dicom-node", "--help").stdout:
        skipped.append("this command has no TLS: build it with --features dicom-tls")
        return
    if not (shutil.which("storescu") and shutil.which("openssl") and certificates(folder)):
        skipped.append("TLS: storescu or openssl is missing")
        return
    port = free_port()
    files = [folder / name for name in ("node.pem", "node.key", "ca.pem")]
    options = [word for pair in zip(("--tls-cert", "--tls-key", "--tls-ca"), map(str, files)) for word in pair]
    node = Node(command, port, folder / "queue-tls", orthanc, "--tls", "listen", *options)
    path = folder / "tls.dcm"
    dataset.save_as(path, enforce_file_format=True)
    at = ["-aet", "STORESCU", "-aec", AET, "127.0.0.1", str(port), str(path)]
    own = ["+tls", str(files[1]), str(files[0]), "+cf", str(files[2])]
    stored = ran("storescu", "-v", *own, *at)
    expect(stored.returncode == 0, f"storescu +tls: {stored.stderr}")
    expect(ran("storescu", "+tla", "+cf", str(files[2]), *at).returncode != 0, "a peer without a certificate was accepted")
    expect(ran("storescu", *at).returncode != 0, "a peer without TLS was accepted")
    summary = node.stop()
    expect(summary["received"] == 1, f"{summary}")
    print("  DCMTK over TLS: with a certificate accepted, without refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command")
    parser.add_argument("--orthanc", default=shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin"))
    options = parser.parse_args()
    expect(options.orthanc, "Orthanc is not installed")
    picture = Image.open(ROOT / "docs/images/phantom.png").convert("L")
    made = dict(sources.make(picture))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        port = free_port()
        orthanc = Orthanc(options.orthanc, folder, port)
        try:
            queue = folder / "queue"
            first = [made[name] for name in ("us_single", "us_clip", "us_jpeg_clip", "us_without_mm")]
            print("Orthanc forwards, and gets SEG and SR with storage commitment")
            node = Node(options.command, port, queue, orthanc, "--commitment", "required", "--instances", "4")
            orthanc.post("modalities/node/echo", b"{}")
            orthanc.forward(*[orthanc.upload(dataset) for dataset in first])
            summary = node.summary()
            expect((summary["received"], summary["done"], summary["failed"]) == (4, 4, 0), f"{summary}")
            expect(summary["sent"] == summary["committed"] == 7, f"{summary}")
            check_results(orthanc, first, folder)

            print("sent again, killed after storage, and sent again")
            more = [made["us_placed"], made["us_palette"]]
            ids = [orthanc.upload(dataset) for dataset in more]
            node = Node(options.command, port, queue, orthanc)
            orthanc.forward(*[orthanc.upload(dataset) for dataset in first])
            orthanc.forward(*ids)
            node.kill()
            node = Node(options.command, port, queue, orthanc)
            orthanc.forward(*ids)
            wait_for("delivery", lambda: len(list((queue / "done").iterdir())) == 6)
            node.stop()
            check_results(orthanc, first + more, folder)

            print("other programs")
            node = Node(options.command, port, queue, orthanc)
            other = made["us_single"]
            other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid(sources.PREFIX)
            with_dcmtk(port, folder, other)
            node.stop()
            with_tls(options.command, orthanc, folder, other)
        finally:
            orthanc.stop()
    for reason in sorted(set(skipped)):
        print(f"skipped: {reason}")
    print("passed")


if __name__ == "__main__":
    main()
