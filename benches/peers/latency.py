#!/usr/bin/env python3
"""Compares the latency of one frame, prompt cached, with ONNX Runtime and OpenVINO on exported files, in interleaved rounds.

usage: latency.py --bundle MODEL.ccs --command target/release/causalclipseg FOLDER [FOLDER ...] [--threads N]
                  [--rounds N] [--frames N]

A FOLDER is the output of `causalclipseg-convert export`: image.onnx and head.onnx are timed, one after the other, on random
pixels; text.onnx is not, since a host encodes its prompt once. Ours is `causalclipseg bench`: a complete frame, resampling and
mask included, which the peers' figures do not include. Prints a Markdown table of medians and the ratios to ours.

needs: pip install onnxruntime openvino numpy
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import time

import numpy as np


def feeds(model, known):
    rng = np.random.default_rng(0)
    made = {}
    for entry in model:
        name, shape = entry
        made[name] = known[name] if name in known else rng.standard_normal(shape).astype(np.float32)
    return made


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, folder, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        load = lambda part: onnxruntime.InferenceSession(
            str(folder / f"{part}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.image, self.head = load("image"), load("head")
        sizes = lambda session: [(i.name, [d if isinstance(d, int) else 1 for d in i.shape]) for i in session.get_inputs()]
        self.pixels = feeds(sizes(self.image), {})
        self.head_inputs = sizes(self.head)

    def frame(self):
        outputs = self.image.run(None, self.pixels)
        known = dict(zip([output.name for output in self.image.get_outputs()], outputs))
        self.head.run(None, feeds(self.head_inputs, known))


class OpenVino:
    name = "OpenVINO"

    def __init__(self, folder, threads):
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        load = lambda part: openvino.Core().compile_model(str(folder / f"{part}.onnx"), "CPU", settings)
        image, head = load("image"), load("head")
        self.image, self.head = image.create_infer_request(), head.create_infer_request()
        sizes = lambda model: [
            (port.get_any_name(), [d.get_length() if d.is_static else 1 for d in port.partial_shape]) for port in model.inputs
        ]
        self.outputs = [port.get_any_name() for port in image.outputs]
        self.pixels, self.head_inputs = feeds(sizes(image), {}), sizes(head)

    def frame(self):
        outputs = self.image.infer(self.pixels)
        known = dict(zip(self.outputs, list(outputs.values())))
        self.head.infer(feeds(self.head_inputs, known))


def ours(command, bundle, threads, frames):
    call = [command, "bench", "-m", bundle, "--threads", str(threads), "--runs", str(frames), "--format", "json"]
    rows = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    row = (rows["rows"] if isinstance(rows, dict) else rows)[0]
    return row["latency_ms"]["p50"], row["isa"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=5)
    options = parser.parse_args()
    peers = [(folder, kind(folder, options.threads)) for folder in options.folders for kind in (OnnxRuntime, OpenVino)]
    times = {(folder, peer.name): [] for folder, peer in peers}
    for folder, peer in peers:
        peer.frame()
    mine, isa = [], ""
    for _ in range(options.rounds):
        for folder, peer in peers:
            for _ in range(options.frames):
                begun = time.perf_counter()
                peer.frame()
                times[folder, peer.name].append(1e3 * (time.perf_counter() - begun))
        median, isa = ours(options.command, options.bundle, options.threads, options.frames)
        mine.append(median)
    reference = statistics.median(mine)
    print(f"| engine | graph | ms, median of {options.rounds} rounds | ratio to ours |\n|---|---|---|---|")
    print(f"| ours, {isa} | {pathlib.Path(options.bundle).name} | {reference:.1f} | 1 |")
    for (folder, name), found in times.items():
        print(f"| {name} | {folder.name} | {statistics.median(found):.1f} | {statistics.median(found) / reference:.2f} |")


if __name__ == "__main__":
    main()
