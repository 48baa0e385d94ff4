#!/usr/bin/env python3
"""Tests `causalclipseg igtl` with another implementation of OpenIGTLink, in both directions.

needs: pyigtl, numpy
usage: igtl_peer.py COMMAND [--plus FOLDER] [--rate HZ] [--frames N] [--soak SECONDS]

COMMAND is the causalclipseg binary; FOLDER holds PLUS's recorded sequences (.mha), which are replayed at their own rate.
Each connection is checked: checksums, header versions 1 and 2, timestamps and matrices that come back, label maps, contours,
reports, a prompt that changes. Then frames go out at a fixed rate, and the time from the first byte of a frame to the last
byte of its label map is compared with the engine's own time of the same frame, as the report gives it (latency_ms). With --soak
frames go out for so long at the same rate, and the node's memory, open files and threads must not grow after the first minute.
"""
import argparse
import itertools
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyigtl
from pyigtl.messages import CRC64, MessageBase, message_type_to_class_constructor

HEADER = struct.Struct("> H 12s 20s Q Q Q")


class StatusMessage(MessageBase):
    """pyigtl has no STATUS."""

    def _unpack_content(self, content):
        self.code, self.subcode, name = struct.unpack("> H q 20s", content[:30])
        self.name = name.rstrip(b"\0").decode()
        self.text = content[30:].rstrip(b"\0").decode()


class PolyData(MessageBase):
    """pyigtl says of its own reader of POLYDATA that it was never tested; it fails."""

    def _unpack_content(self, content):
        counts = struct.unpack("> 10I", content[:40])
        points, lines = counts[0], counts[4]
        assert counts[1] == counts[5] == counts[7] == counts[9] == 0, counts
        end = 40 + 12 * points
        self.points = np.frombuffer(content[40:end], ">f4").reshape(points, 3)
        cells = np.frombuffer(content[end : end + lines], ">u4").tolist()
        assert end + lines == len(content)
        self.lines = []
        while cells:
            count, cells = cells[0], cells[1:]
            self.lines.append(cells[:count])
            cells = cells[count:]
        assert len(self.lines) == counts[3]


message_type_to_class_constructor.update(STATUS=StatusMessage, POLYDATA=PolyData)


class Peer:
    """A connection whose messages are all parsed by pyigtl, with their checksums compared."""

    def __init__(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.messages = connection, queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def exactly(self, size):
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            got = self.connection.recv_into(view[filled:])
            if got == 0:
                raise EOFError
            filled += got
        return bytes(data)

    def read(self):
        try:
            while True:
                header = self.exactly(58)
                version, kind, _, stamp, size, crc = HEADER.unpack(header)
                body = self.exactly(size)
                arrived = time.perf_counter()
                message = MessageBase.create_message(kind.rstrip(b"\0").decode())
                assert message is not None, kind
                message.raw = (stamp, crc, body)
                message.fields = MessageBase.parse_header(header)
                message.arrived = arrived
                self.messages.put(message)
        except (EOFError, OSError):
            self.messages.put(None)

    def send(self, message, version=1, stamp=None):
        """Sends a message; returns the time before its first byte was sent."""
        message.header_version, message.message_id = version, 99
        packed = message.pack()
        return self.send_packed(packed, stamp)

    def send_packed(self, packed, stamp=None):
        if stamp is not None:
            packed = packed[:34] + struct.pack("> Q", stamp) + packed[42:]
        begun = time.perf_counter()
        self.connection.sendall(packed)
        return begun

    def wait(self, device, patience=30.0, stamp=None):
        """Returns the next message of a device, unpacked; others before it are checked and dropped."""
        end = time.monotonic() + patience
        while True:
            message = self.messages.get(timeout=max(0.01, end - time.monotonic()))
            assert message is not None, "the node has closed the connection"
            check(message)
            if message.device_name == device and (stamp is None or message.raw[0] == stamp):
                return message


def check(message):
    _, crc, body = message.raw
    assert CRC64(body) == crc, "checksum"
    message.unpack(message.fields, body)


def scan(width, height, step=0):
    """Speckle with a dark ellipse to segment."""
    noise = np.random.default_rng(1).integers(70, 130, (height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2 - step) / (width / 6)) ** 2 + ((y - height / 2) / (height / 6)) ** 2 < 1
    noise[inside] //= 4
    return noise[None]


MATRIX = np.array([[0.1, 0, 0, 5], [0, 0, 0.2, -3], [0, -0.15, 0, 40], [0, 0, 0, 1]])


def start(command, *arguments):
    return subprocess.Popen(
        [command, "igtl", *arguments, "-p", "a mass in the breast", "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def end(node):
    node.send_signal(signal.SIGTERM)
    output, errors = node.communicate(timeout=30)
    assert node.returncode == 0, errors
    return json.loads(output)


def address_of(node):
    line = node.stderr.readline()
    host, port = re.match(r"listening on (.*):(\d+)", line).groups()
    return host, int(port)


def check_exchange(peer):
    """Sends one image in each header version and checks its results; then changes the prompt."""
    image = scan(320, 240)
    for version in (1, 2):
        stamp = (1_700_000_000 << 32) + version
        message = pyigtl.ImageMessage(image, ijk_to_world_matrix=MATRIX, device_name="Image_Reference")
        peer.send(message, version, stamp)
        mask = peer.wait("LesionMask", stamp=stamp)
        assert mask.header_version == version
        assert mask.image.shape == image.shape and mask.image.dtype == np.uint8
        assert set(np.unique(mask.image)) <= {0, 1}
        assert np.allclose(mask.ijk_to_world_matrix, MATRIX, atol=1e-4), mask.ijk_to_world_matrix
        assert mask.world_coordinate_system == "lps"
        contour = peer.wait("LesionContour", stamp=stamp)
        report = json.loads(peer.wait("LesionReport", stamp=stamp).string)
        assert report["area_px"] == int(mask.image.sum()), (report, mask.image.sum())
        check_contour(contour, mask)
        if version == 2:
            assert mask.metadata == {"prompt": "a mass in the breast"} and mask.message_id == 99
    peer.send(pyigtl.StringMessage("a nodule\nthe lesion on the left", device_name="Prompt"))
    status = peer.wait("Lesion")
    while "a nodule | the lesion on the left" not in status.text:
        status = peer.wait("Lesion")
    assert status.code == 1
    peer.send(pyigtl.ImageMessage(image, ijk_to_world_matrix=MATRIX, device_name="Image"), 2, 77)
    for name in ("LesionMask", "LesionMask2"):
        peer.wait(name, stamp=77)
    assert json.loads(peer.wait("LesionReport2", stamp=77).string)["prompt"] == "the lesion on the left"
    peer.send(pyigtl.StringMessage("a mass in the breast", device_name="Prompt"))
    return report["area_px"]


def check_contour(contour, mask):
    """Checks that the corners, mapped back to pixels, enclose as many pixels as the mask has."""
    inverse = np.linalg.inv(mask.ijk_to_world_matrix)
    area = 0.0
    for line in contour.lines:
        points = np.c_[contour.points[line], np.ones(len(line))] @ inverse.T
        assert np.abs(points[:, 2]).max() < 1e-2
        x, y = points[:, 0], points[:, 1]
        area += 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
    assert abs(area - mask.image.sum()) < 0.5 + 1e-3 * mask.image.sum(), (area, mask.image.sum())


class Usage(NamedTuple):
    """What the system says of a process; rss_kib is resident memory."""

    rss_kib: int
    descriptors: int
    threads: int


def usage_of(node):
    status = Path(f"/proc/{node.pid}/status").read_text()
    number = lambda key: int(re.search(rf"{key}:\s+(\d+)", status)[1])
    return Usage(number("VmRSS"), len(os.listdir(f"/proc/{node.pid}/fd")), number("Threads"))


# What an allocator may keep beyond what was used at the end of the first minute.
GROWTH_KIB = 4096


def check_growth(usage):
    """Compares the first usage after a minute with all later ones; `usage` has one entry every ten seconds."""
    first, later = usage[6], usage[7:]
    for name, allowed in (("rss_kib", GROWTH_KIB), ("descriptors", 0), ("threads", 0)):
        most = max(getattr(each, name) for each in later)
        assert most <= getattr(first, name) + allowed, f"{name} grew from {getattr(first, name)} to {most}"


def percentiles(values):
    return " ".join(f"{np.percentile(values, share):.2f}" for share in (50, 90, 99))


def measure(peer, frames, period_s, name, node=None, seconds=0):
    """Sends frames at their times and prints the latency of the label maps and the engine's own time; with a node, for so many
    seconds, with its memory, open files and threads every ten seconds."""
    messages = []
    for frame in frames:
        message = pyigtl.ImageMessage(frame, ijk_to_world_matrix=MATRIX, device_name="Image")
        messages.append(message.pack())
    sent, masks, engine = {}, {}, {}
    stop = threading.Event()

    def collect():
        while not (stop.is_set() and peer.messages.empty()):
            try:
                message = peer.messages.get(timeout=0.2)
            except queue.Empty:
                continue
            if message is None:
                return
            if message.fields["device_name"] == "LesionMask":
                masks[message.raw[0]] = message.arrived
            elif message.fields["device_name"] == "LesionReport":
                message.unpack(message.fields, message.raw[2])
                engine[message.raw[0]] = json.loads(message.string)["latency_ms"]

    def latencies(stamps):
        both = [stamp for stamp in stamps if stamp in masks and stamp in engine]
        whole = np.array([(masks[stamp] - sent[stamp]) * 1e3 for stamp in both])
        return whole, np.array([engine[stamp] for stamp in both])

    collector = threading.Thread(target=collect)
    collector.start()
    begun = time.perf_counter()
    usage = []
    if node:
        messages = itertools.islice(itertools.cycle(messages), int(seconds / period_s))
    for number, message in enumerate(messages):
        if node and number % int(10 / period_s) == 0:
            usage.append(usage_of(node))
            if len(usage) % 30 == 1 and number:
                whole, own = latencies(list(sent)[-int(300 / period_s) : -30])
                print(
                    f"{name}: {number} frames sent, {len(whole)} results in the last five minutes, ms p50 p90 p99: whole {percentiles(whole)}, "
                    f"above {percentiles(whole - own)}; {usage[-1]}",
                    flush=True,
                )
        due = begun + (period_s[number] if isinstance(period_s, list) else number * period_s)
        time.sleep(max(0.0, due - time.perf_counter()))
        stamp = (1_700_000_001 << 32) + number + 1
        sent[stamp] = peer.send_packed(message, stamp)
    time.sleep(1.0)
    stop.set()
    collector.join()
    whole, own = latencies(sent)
    assert len(whole), "no frame came back"
    shape = frames[0].shape
    print(
        f"{name}: {shape[2]} x {shape[1]}, {len(sent)} frames, {len(whole)} results; ms p50 p90 p99: whole {percentiles(whole)}, "
        f"engine {percentiles(own)}, above {percentiles(whole - own)}",
        flush=True,
    )
    if node:
        usage.append(usage_of(node))
        after_a_minute = usage[6] if len(usage) > 7 else usage[0]
        print(f"{name}: at the start {usage[0]}, after a minute {after_a_minute}, at the end {usage[-1]}", flush=True)
        print(f"{name}: most resident memory {max(each.rss_kib for each in usage)} KiB", flush=True)
        if len(usage) > 7:
            check_growth(usage)


def read_sequence(path):
    """Frames and times of a MetaImage that PLUS recorded."""
    data = path.read_bytes()
    end_of_header = data.index(b"ElementDataFile = LOCAL") + len(b"ElementDataFile = LOCAL")
    end_of_header = data.index(b"\n", end_of_header) + 1
    header = {}
    for line in data[:end_of_header].decode("latin-1").splitlines():
        key, _, value = line.partition("=")
        header[key.strip()] = value.strip()
    size = [int(number) for number in header["DimSize"].split()]
    width, height, frames = size[0], size[1], size[2] if len(size) > 2 else 1
    pixels = data[end_of_header:]
    if header.get("CompressedData", "False").lower() == "true":
        pixels = zlib.decompress(pixels[: int(header["CompressedDataSize"])])
    frames = np.frombuffer(pixels, np.uint8)[: width * height * frames].reshape(frames, 1, height, width)
    times = [float(header.get(f"Seq_Frame{number:04}_Timestamp", number / 10)) for number in range(len(frames))]
    return list(frames), [moment - times[0] for moment in times]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("--plus", type=Path)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args()

    # We connect to the node.
    node = start(options.command, "listen", "127.0.0.1:0")
    peer = Peer(socket.create_connection(address_of(node)))
    print("listen: found", check_exchange(peer), "pixels; images, masks, contours, reports and prompts agree")
    # pyigtl's own client, in its usual form.
    client = pyigtl.OpenIGTLinkClient(*peer.connection.getpeername())
    client.send_message(pyigtl.ImageMessage(scan(64, 48), device_name="Image"))
    mask = client.wait_for_message("LesionMask", timeout=30)
    assert mask is not None and mask.image.shape == (1, 48, 64)
    client.stop()
    print("listen: pyigtl's own client gets a mask")
    frames = [scan(640, 480, step % 50) for step in range(options.frames)]
    measure(peer, frames, 1 / options.rate, f"{options.rate:g} Hz")
    if options.soak:
        measure(peer, frames[:50], 1 / options.rate, "soak", node, options.soak)
    for path in sorted(options.plus.glob("*.mha")) if options.plus else []:
        frames, times = read_sequence(path)
        measure(peer, frames, times, path.name)
    summary = end(node)
    assert summary["failed"] == summary["damaged_messages"] == summary["broken_connections"] == 0, summary
    print("listen: ended with a summary,", {key: summary[key] for key in ("processed", "dropped", "superseded_results")})

    # The node connects to us, and again after we disconnect.
    server = socket.create_server(("127.0.0.1", 0))
    node = start(options.command, "connect", f"127.0.0.1:{server.getsockname()[1]}")
    for _ in range(2):
        connection, _ = server.accept()
        peer = Peer(connection)
        check_exchange(peer)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
    server.close()
    print("connect: two connections, the same checks;", end(node)["connections"], "connections counted")

    # pyigtl's own server, in its usual form.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = pyigtl.OpenIGTLinkServer(port=port, local_server=True)
    node = start(options.command, "connect", f"127.0.0.1:{port}")
    until = time.monotonic() + 30
    while not server.is_connected() and time.monotonic() < until:
        time.sleep(0.05)
    server.send_message(pyigtl.ImageMessage(scan(64, 48), device_name="Image"), wait=False)
    mask = server.wait_for_message("LesionMask", timeout=30)
    assert mask is not None and mask.image.shape == (1, 48, 64)
    end(node)
    print("connect: pyigtl's own server gets a mask")


if __name__ == "__main__":
    main()
