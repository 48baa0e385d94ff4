#!/usr/bin/env python3
"""Checks an exported folder: valid ONNX, and outputs equal to reference vectors or to another export's.

needs: onnx, onnxruntime, numpy, safetensors; openvino where it is installed
"""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

# File -> its inputs, and its outputs with their names in the reference vectors.
FILES = {
    "text.onnx": (["tokens"], {"state": "state"}),
    "image.onnx": (["image"], {"features": "fq_sup", "confounders": "fq_inf"}),
    "head.onnx": (["features", "state"], {"logits": "pred"}),
    "confounder_head.onnx": (["confounders", "state"], {"logits": "pred_ad"}),
    "model.onnx": (["image", "tokens"], {"logits": "pred"}),
}


def golden_image(size):
    """The reference image: 1.5 * u of `input.image` (tests/golden/README.md)."""
    name_hash = np.uint64(0xCBF29CE484222325)
    with np.errstate(over="ignore"):
        for byte in b"input.image":
            name_hash = (name_hash ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        z = name_hash + np.arange(1, 3 * size * size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    unit = ((z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1).astype(np.float32)
    return (np.float32(1.5) * unit).reshape(1, 3, size, size)


def onnxruntime_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds)))


def openvino_session(path, threads):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda feeds: {port.get_any_name(): value.copy() for port, value in request.infer(feeds).items()}


def difference(found, expected):
    """Largest difference as a share of the largest magnitude."""
    return float(np.abs(found.ravel() - expected.ravel()).max() / np.abs(expected).max())


def reference(golden, name, found):
    """The part of `found` that the vectors contain, and that part of the vectors."""
    if name in golden:
        return found, golden[name]
    sampled = golden[f"{name}.every16th"]
    return found.ravel()[::16], sampled


def median_ms(run, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), min(times)


def check(path, session, inputs, golden, other, arguments):
    feeds_names, outputs = FILES[path.name]
    feeds = {name: inputs[name] for name in feeds_names}
    found = session(feeds)
    row = {}
    for tensor, value in found.items():
        if other is not None:
            row[f"{tensor} to the other export"] = difference(value, other(feeds)[tensor])
        if golden is not None:
            row[f"{tensor} to reference"] = difference(*reference(golden, outputs[tensor], value))
        if path.name in ("text.onnx", "image.onnx"):
            inputs.setdefault(tensor, value)
    if arguments.runs:
        row["median_ms"], row["min_ms"] = median_ms(lambda: session(feeds), arguments.runs)
    return row


def random_inputs(folder):
    """Inputs of the right shapes without vectors: a noise image, and three prompts of several lengths."""
    shapes = {}
    for name in ("image.onnx", "text.onnx"):
        for tensor in onnx.load(str(folder / name)).graph.input:
            shapes[tensor.name] = [dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    tokens = np.zeros((3, shapes["tokens"][1]), np.int64)
    for row, length in enumerate((3, 9, 20)):
        tokens[row, :length] = np.arange(1, length + 1)
    return {"image": rng.standard_normal(shapes["image"]).astype(np.float32), "tokens": tokens}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--golden", type=Path, help="reference vectors (.safetensors) to compare with")
    parser.add_argument("--against", type=Path, help="another export of the same checkpoint to compare with")
    parser.add_argument("--engine", choices=["onnxruntime", "openvino"], default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=0, help="also time each file")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    arguments = parser.parse_args()

    open_session = {"onnxruntime": onnxruntime_session, "openvino": openvino_session}[arguments.engine]
    golden, inputs = None, random_inputs(arguments.folder)
    if arguments.golden:
        golden = load_file(arguments.golden)
        context = inputs["tokens"].shape[1]
        tokens = golden["tokens"].reshape(1, -1).astype(np.int64)
        inputs = {
            "image": golden_image(inputs["image"].shape[-1]),
            "tokens": np.pad(tokens, ((0, 0), (0, max(0, context - tokens.shape[1]))))[:, :context],
        }
    report = {}
    for name in FILES:
        path = arguments.folder / name
        if not path.exists():
            continue
        onnx.checker.check_model(str(path), full_check=True)
        other = open_session(arguments.against / name, arguments.threads) if arguments.against else None
        session = open_session(path, arguments.threads)
        report[name] = check(path, session, inputs, golden, other, arguments)
    print(json.dumps(report, indent=1))
    differences = [value for row in report.values() for key, value in row.items() if " to " in key]
    # A comparison with nan is false, so the condition for success is tested.
    if not all(value <= arguments.tolerance for value in differences):
        sys.exit(f"a difference is above {arguments.tolerance}")


if __name__ == "__main__":
    main()
