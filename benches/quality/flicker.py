#!/usr/bin/env python3
"""Measures how much masks flicker from frame to frame, without smoothing and with it.

usage: flicker.py COMMAND SEQUENCE... [--prompt SENTENCE]... [--smoothing SHARE]...
  COMMAND   the causalclipseg command
  SEQUENCE  a clip that `stream` reads: a DICOM clip, a .mha, a folder of frames

For each sequence, prompt and share, over successive frames: how many have a mask, how often a mask appears or vanishes, and between
frames that both have one the mean change of area (difference over mean) and step of the centroid in pixels. Prints a Markdown table.
"""
import argparse
import json
import math
import pathlib
import subprocess


def frames(command, sequence, prompt, smoothing):
    arguments = [command, "stream", sequence, "-p", prompt, "--smoothing", str(smoothing), "--format", "jsonl"]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    lines = (json.loads(line) for line in output.splitlines())
    return [line for line in lines if "area_px" in line]


def flicker(found):
    pairs = list(zip(found, found[1:]))
    switches = sum((before["area_px"] > 0) != (after["area_px"] > 0) for before, after in pairs)
    both = [(before, after) for before, after in pairs if before["area_px"] > 0 and after["area_px"] > 0]
    changes = [2 * abs(after["area_px"] - before["area_px"]) / (after["area_px"] + before["area_px"]) for before, after in both]
    steps = [math.dist(before["centroid"], after["centroid"]) for before, after in both]
    mean = lambda values: sum(values) / len(values) if values else math.nan
    return sum(frame["area_px"] > 0 for frame in found), switches, mean(changes), mean(steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command")
    parser.add_argument("sequences", nargs="+", type=pathlib.Path)
    parser.add_argument("--prompt", action="append")
    parser.add_argument("--smoothing", action="append", type=float)
    arguments = parser.parse_args()
    print("| sequence | prompt | smoothing | frames | with a mask | appears or vanishes | change of area | centroid's step, px |")
    print("|---|---|---|---|---|---|---|---|")
    for sequence in arguments.sequences:
        for prompt in arguments.prompt or ["the lesion"]:
            for smoothing in arguments.smoothing or [0.0, 0.5, 0.8]:
                found = frames(arguments.command, sequence, prompt, smoothing)
                present, switches, change, step = flicker(found)
                print(f"| {sequence.name} | {prompt} | {smoothing} | {len(found)} | {present} | {switches} | {change:.1%} | {step:.1f} |", flush=True)


if __name__ == "__main__":
    main()
