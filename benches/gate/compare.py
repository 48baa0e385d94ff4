#!/usr/bin/env python3
"""Compares the latency of a commit with that of another, before a change to a hot path is merged.

needs: git and cargo, or two built commands; optionally valgrind
usage: compare.py [BEFORE [AFTER]] [-m MODEL]... [--rounds N] [--seconds S] [--limit RATIO] [--skip-rn101] [--skip-instructions]

BEFORE and AFTER are commits (default: HEAD~1 and HEAD), each built in a worktree of its own below target/gate, or paths of two built commands. Runs alternate
between both, so that a slow minute of the machine meets both; a case's figure is the median of the rounds' ratios, after over before. MODEL is a bundle's
path, `shipped` (the model inside the command) or a name that `bench` generates weights for; default: `shipped` and `random:rn101:int8`. An RN101 with weights
limited in pairs, as models are shipped, is a bundle: see docs/benchmarking.md. Cases: one and two threads back to back, and two threads at 30 frames a second
where a frame of the model is short enough. Instructions a frame, by callgrind (AVX2), do not depend on the machine's load: several frames less one, divided by
the difference. Callgrind takes some 50 times as long as the frames do, for RN101 some minutes.
Exit code 1 where the median ratio of a case's p50, or of a model's instructions, is above the limit.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/images/phantom.png"
KEYS = ["min", "p50", "p90", "p99"]
SHIPPED = "shipped"
RN101 = "random:rn101:int8"
# A model whose frames take longer is not measured at 30 Hz, where it would only fall behind, and fewer of its frames are counted.
SHORT_MS = 25


def command_of(name):
    """The command of a commit, built where it is not yet; or the path itself."""
    if Path(name).is_file():
        return Path(name).resolve()
    commit = subprocess.run(["git", "rev-parse", "--verify", f"{name}^{{commit}}"], cwd=ROOT, capture_output=True, text=True)
    if commit.returncode:
        sys.exit(f"error: {name} is neither a commit nor a built command")
    commit = commit.stdout.strip()
    kept = ROOT / "target/gate" / commit[:12]
    if not kept.is_file():
        tree = ROOT / "target/gate/tree"
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, capture_output=True)
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            # One folder for all commits: dependencies are built once.
            built = ROOT / "target/gate/build"
            subprocess.run(["cargo", "build", "--release", "--target-dir", built], cwd=tree, check=True)
            shutil.copy(built / "release/causalclipseg", kept)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    return kept


def latency(command, arguments):
    run = subprocess.run([command, "bench", "--rounds", "1", "--format", "json", *arguments], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"error: {command} bench {' '.join(arguments)}: {run.stderr.strip()}")
    return json.loads(run.stdout)[0]["latency_ms"]


def arguments_of(model):
    """What `bench` and `stream` take for a model."""
    return [] if model == SHIPPED else ["-m", model]


def name_of(model):
    return Path(model).name if Path(model).is_file() else model


def instructions(command, model, frames):
    """Instructions of a frame, without opening the model."""
    with tempfile.TemporaryDirectory() as out:
        def total(frames):
            run = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}/callgrind", command, "stream", f"{out}/frames", "-p", "a nodule",
                   "--frames", str(frames), "--format", "json", "--allow-untrained", *arguments_of(model)]
            log = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "CAUSALCLIPSEG_ISA": "avx2"})
            found = re.search(r"Collected : (\d+)", log.stderr)
            if log.returncode or not found:
                sys.exit(f"error: callgrind on {command} with {model}: {log.stderr.strip()[-400:]}")
            return int(found[1])

        os.mkdir(f"{out}/frames")
        for number in range(frames):
            shutil.copy(PICTURE, f"{out}/frames/{number}.png")
        return (total(frames) - total(1)) / (frames - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("before", nargs="?", default="HEAD~1")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("-m", "--model", action="append", dest="models", metavar="MODEL", help=f"default: {SHIPPED} and {RN101}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--limit", type=float, default=1.05)
    parser.add_argument("--skip-rn101", action="store_true")
    parser.add_argument("--skip-instructions", action="store_true")
    arguments = parser.parse_args()
    commands = [command_of(arguments.before), command_of(arguments.after)]
    models = arguments.models or [SHIPPED] + ([] if arguments.skip_rn101 else [RN101])
    for model in models:
        if not Path(model).is_file() and model != SHIPPED and not model.startswith("random:"):
            sys.exit(f"error: {model} is neither a bundle's path nor `{SHIPPED}` nor a name that begins with random:")
    paces = [("1 thread", ["--threads", "1"]), ("2 threads", ["--threads", "2"]), ("2 threads, 30 Hz", ["--threads", "2", "--rate", "30"])]
    too_slow = []
    is_short = {}
    print("| case | " + " | ".join(f"{key}, ms: before, after, ratio" for key in KEYS) + " |")
    print("|---" * (1 + len(KEYS)) + "|")
    for model in models:
        for pace, of_pace in paces:
            if "Hz" in pace and not is_short[model]:
                continue
            rounds = []
            for number in range(arguments.rounds):
                order = (0, 1) if number % 2 == 0 else (1, 0)
                found = {side: latency(commands[side], [*arguments_of(model), *of_pace, "--duration", str(arguments.seconds)]) for side in order}
                rounds.append([found[0], found[1]])
            is_short.setdefault(model, min(pair[0]["min"] for pair in rounds) <= SHORT_MS)
            cells = []
            for key in KEYS:
                before, after = (statistics.median(pair[side][key] for pair in rounds) for side in (0, 1))
                ratio = statistics.median(pair[1][key] / pair[0][key] for pair in rounds)
                cells.append(f"{before:.2f}, {after:.2f}, {ratio:.3f}")
                if key == "p50" and ratio > arguments.limit:
                    too_slow.append(f"{name_of(model)}, {pace}: {ratio:.3f}")
            print(f"| {name_of(model)}, {pace} | " + " | ".join(cells) + " |", flush=True)
    if arguments.skip_instructions:
        print("instructions: skipped, as asked")
    elif shutil.which("valgrind") is None:
        print("instructions: skipped, valgrind is not installed")
    else:
        for model in models:
            before, after = (instructions(command, model, 5 if is_short[model] else 2) for command in commands)
            print(
                f"{name_of(model)}, instructions a frame, millions: {before / 1e6:.1f} before, {after / 1e6:.1f} after, ratio {after / before:.4f}",
                flush=True,
            )
            if after / before > arguments.limit:
                too_slow.append(f"{name_of(model)}, instructions: {after / before:.4f}")
    if too_slow:
        sys.exit("slower than the limit: " + "; ".join(too_slow))


if __name__ == "__main__":
    main()
