#!/usr/bin/env python3
"""Writes tests/golden/openigtlink.json: messages packed by pyigtl, in hexadecimal, with their values.

needs: pyigtl, numpy
usage: igtl_golden.py > tests/golden/openigtlink.json
"""
import json

import numpy as np
import pyigtl

# A time whose fraction is exact in binary.
TIMESTAMP = 1_700_000_000.5
MATRIX = [[0.2, 0.0, 0.0, 10.0], [0.0, 0.3, 0.0, -20.0], [0.0, 0.0, 1.0, 30.0], [0.0, 0.0, 0.0, 1.0]]
SCALARS = {"int8": 2, "uint8": 3, "int16": 4, "uint16": 5, "int32": 6, "uint32": 7, "float32": 10, "float64": 11}


class BigEndianImage(pyigtl.ImageMessage):
    """Writes big-endian pixels: pyigtl reads both byte orders but writes only one."""

    def _pack_content(self):
        content = bytearray(super()._pack_content())
        content[4] = 1
        content[72:] = self.image.byteswap().tobytes()
        return bytes(content)


def packed(message, version=1, metadata=None):
    message.header_version = version
    message.metadata = metadata or {}
    message.message_id = 77 if version > 1 else 0
    return message.pack().hex()


def image(dtype, components, coordinates="ras", kind=pyigtl.ImageMessage):
    shape = (1, 2, 3) if components == 1 else (1, 2, 3, components)
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return kind(
        values, ijk_to_world_matrix=MATRIX, world_coordinate_system=coordinates, timestamp=TIMESTAMP, device_name="Image"
    )


def main():
    cases = []

    def add(kind, version, message_hex, **fields):
        cases.append({"kind": kind, "version": version, "hex": message_hex, **fields})

    for name, code in SCALARS.items():
        for kind in (pyigtl.ImageMessage, BigEndianImage):
            for version in (1, 2):
                message = image(np.dtype(name), 1, kind=kind)
                add("IMAGE", version, packed(message, version), scalar=code, big=kind is BigEndianImage, components=1)
    add("IMAGE", 1, packed(image(np.dtype("uint8"), 3, "lps")), scalar=3, big=False, components=3, lps=True)
    metadata = {"prompt": "a mass", "": ""}
    add("IMAGE", 2, packed(image(np.dtype("uint8"), 1), 2, metadata), scalar=3, big=False, components=1, metadata=list(metadata.items()))
    for version in (1, 2):
        text = "the lesion on the left"
        add("STRING", version, packed(pyigtl.StringMessage(text, timestamp=TIMESTAMP, device_name="Prompt"), version), text=text)
    lines = np.array([4, 0, 1, 2, 0, 2, 1, 2], dtype=np.uint32)
    points = np.array([[0.0, 0.5, 1.0], [1.5, 0.5, 1.0], [1.5, 2.5, 1.0]], dtype=np.float32)
    poly = pyigtl.PolyDataMessage(points=points, lines=lines, timestamp=TIMESTAMP, device_name="Contour")
    add("POLYDATA", 1, packed(poly), points=points.tolist(), lines=[[0, 1, 2, 0], [1, 2]])
    transform = pyigtl.TransformMessage(np.eye(4), timestamp=TIMESTAMP, device_name="ProbeToReference")
    add("TRANSFORM", 1, packed(transform))
    print("[")
    print(",\n".join(json.dumps(case) for case in cases))
    print("]")


if __name__ == "__main__":
    main()
