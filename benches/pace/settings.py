#!/usr/bin/env python3
"""Measures what the system's settings do to the latency of a frame that arrives at a camera's rate, beside frames back to back.

needs: Linux; root for the settings that say so (others are skipped with a line)
usage: settings.py [COMMAND] [--rate HZ] [--rounds N] [--seconds S] [--threads N] [--core K] [-- BENCH_ARGUMENTS]

COMMAND is a built causalclipseg (default: target/release/causalclipseg). Each round measures every setting once, in turn; the table has medians of the
rounds and the ratio to back to back. Settings:
  busy      frames back to back
  idle      at the rate, nothing changed
  pinned    bound to one core for each thread (`--affinity`)
  awake     /dev/cpu_dma_latency held at 0, so that cores do not sleep between frames (root)
  realtime  SCHED_FIFO, priority 50 (root)
  all       the last three together (root)
"""
import argparse
import contextlib
import json
import os
import statistics
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["p50", "p90", "p99", "max"]


@contextlib.contextmanager
def awake():
    """Cores do not enter a sleep state as long as this is open: the kernel's PM QoS interface."""
    with open("/dev/cpu_dma_latency", "wb", buffering=0) as latency:
        latency.write(struct.pack("i", 0))
        yield


def measure(arguments, setting):
    run = [arguments.command, "bench", "--rounds", "1", "--format", "json", "--threads", str(arguments.threads)]
    run += ["--duration", str(arguments.seconds), *arguments.more]
    if setting != "busy":
        run += ["--rate", str(arguments.rate)]
    if setting in ("pinned", "all"):
        run += ["--affinity", ",".join(str(arguments.core + index) for index in range(arguments.threads))]
    realtime = setting in ("realtime", "all")
    before = (lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))) if realtime else None
    with awake() if setting in ("awake", "all") else contextlib.nullcontext():
        result = subprocess.run(run, capture_output=True, text=True, preexec_fn=before)
    if result.returncode:
        raise OSError(result.stderr.strip())
    return json.loads(result.stdout)[0]["latency_ms"]


def main():
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs="?", default=str(ROOT / "target/release/causalclipseg"))
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args(sys.argv[1:split])
    arguments.more = sys.argv[split + 1 :]
    settings = ["busy", "idle", "pinned", "awake", "realtime", "all"]
    found = {setting: [] for setting in settings}
    skipped = {}
    for _ in range(arguments.rounds):
        for setting in settings:
            if setting in skipped:
                continue
            try:
                found[setting].append(measure(arguments, setting))
            except (OSError, subprocess.SubprocessError) as error:
                skipped[setting] = str(error).splitlines()[-1:] or ["failed"]
    print("| setting | " + " | ".join(f"{key}, ms" for key in KEYS) + " | over back to back: " + ", ".join(KEYS) + " |")
    print("|---" * (len(KEYS) + 2) + "|")
    busy = {key: statistics.median(row[key] for row in found["busy"]) for key in KEYS} if found["busy"] else {}
    for setting in settings:
        if setting in skipped or not busy:
            print(f"| {setting} | skipped: {' '.join(skipped.get(setting, ['nothing to compare with']))} |")
            continue
        row = {key: statistics.median(one[key] for one in found[setting]) for key in KEYS}
        ratios = ", ".join(f"{row[key] / busy[key]:.2f}" for key in KEYS)
        print(f"| {setting} | " + " | ".join(f"{row[key]:.1f}" for key in KEYS) + f" | {ratios} |")


if __name__ == "__main__":
    main()
