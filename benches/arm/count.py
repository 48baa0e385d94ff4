#!/usr/bin/env python3
"""Counts the instructions of a frame on ARM cores under qemu, and the time below which no such core can stay.

needs: qemu-aarch64 with plugins (a dynamically linked one; Debian 12's qemu-user has them), cc, and the command, built for aarch64
usage: count.py COMMAND [--qemu QEMU] [--sysroot DIR] [--cores cortex-a57,neoverse-n1,max] [--model BUNDLE] [--frames N]

Frames are docs/images/phantom.png, one prompt, one thread. The count of a frame is that of N + 1 frames less that of one, divided by N, with reading
the picture; opening the model is left out. The bound is the largest of all instructions over those issued in a cycle, vector instructions over vector
pipes, and loads and stores over the ports for them, each at the clock of a board: no core reaches all of them at once, so a frame takes longer.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "docs/images/phantom.png"
# Instructions in a cycle, vector pipes, ports for loads and stores, GHz, board: Arm's software optimisation guides of these cores.
CORES = {
    "cortex-a57": (3, 2, 2, 1.43, "Cortex-A57, Jetson Nano"),
    "neoverse-n1": (4, 2, 2, 2.0, "Neoverse N1, instructions of Cortex-A78AE, at Jetson Orin's clock"),
    "cortex-a78ae": (6, 2, 3, 2.0, "Cortex-A78AE, Jetson Orin"),
    "max": (5, 2, 3, 2.8, "Cortex-A710, which has `i8mm`"),
}


def count(arguments, plugin, core, frames, folder):
    log = f"{folder}/count.log"
    pictures = f"{folder}/{frames}"
    os.makedirs(pictures, exist_ok=True)
    for number in range(frames):
        shutil.copy(PICTURE, f"{pictures}/{number:03}.png")
    run = [arguments.qemu, "-cpu", core, "-plugin", plugin, "-d", "plugin", "-D", log]
    run += ["-L", arguments.sysroot] if arguments.sysroot else []
    run += [arguments.command, "stream", pictures, "-p", "a nodule", "--threads", "1", "--format", "json"]
    run += ["-m", arguments.model] if arguments.model else []
    result = subprocess.run(run, capture_output=True, text=True)
    found = re.search(r"instructions=(\d+) vector=(\d+) memory=(\d+)", Path(log).read_text() if Path(log).exists() else "")
    if result.returncode or not found:
        sys.exit(f"error: {' '.join(map(str, run))}: {result.stderr.strip()[-400:] or 'the plugin wrote no count'}")
    return [int(number) for number in found.groups()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("--qemu", default="qemu-aarch64")
    parser.add_argument("--sysroot")
    parser.add_argument("--cores", default="cortex-a57,neoverse-n1,max")
    parser.add_argument("--model")
    parser.add_argument("--frames", type=int, default=4)
    arguments = parser.parse_args()
    unknown = [core for core in arguments.cores.split(",") if core not in CORES]
    if unknown or arguments.frames < 1:
        sys.exit(f"error: known cores are {', '.join(CORES)}, and at least one frame is counted")
    with tempfile.TemporaryDirectory() as folder:
        plugin = f"{folder}/libcount.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", plugin, Path(__file__).with_name("count.c")], check=True)
        print("| core | instructions, millions | vector | loads and stores | bound, ms | limited by |")
        print("|---|---|---|---|---|---|")
        for core in arguments.cores.split(","):
            one, more = (count(arguments, plugin, core, frames, folder) for frames in (1, 1 + arguments.frames))
            numbers = [(b - a) / arguments.frames for a, b in zip(one, more)]
            width, pipes, ports, gigahertz, board = CORES[core]
            limits = {"issue": numbers[0] / width, "vector pipes": numbers[1] / pipes, "loads and stores": numbers[2] / ports}
            limit = max(limits, key=limits.get)
            millions = " | ".join(f"{number / 1e6:.1f}" for number in numbers)
            print(f"| {board} | {millions} | {limits[limit] / gigahertz / 1e6:.1f} | {limit} |", flush=True)


if __name__ == "__main__":
    main()
