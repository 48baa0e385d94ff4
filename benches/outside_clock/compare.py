#!/usr/bin/env python3
"""Compares `bench`'s median latency with that of a C program that has its own clock, in interleaved rounds.

usage: compare.py --command target/release/causalclipseg --library target/release [--bundle models/tiny.ccs] [--threads N]
                  [--rounds N] [--frames N]

Build both with one profile: `cargo build --release --workspace`. Needs a C compiler, and quiet cores: give it some with
`taskset`. Prints each round's medians, and the ratio of the medians over all rounds.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def built(library, folder):
    program = folder / "clock"
    source = pathlib.Path(__file__).with_name("clock.c")
    # The loader asks for the name with the interface's number.
    (folder / "libcausalclipseg.so.4").symlink_to(library.resolve() / "libcausalclipseg.so")
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", source, f"-I{ROOT / 'include'}", f"-L{library}", "-lcausalclipseg",
         f"-Wl,-rpath,{folder}", "-o", program],
        check=True,
    )
    return program


def by_bench(arguments):
    command = [arguments.command, "bench", "-m", arguments.bundle, "--threads", str(arguments.threads), "--runs",
               str(arguments.frames), "--rounds", "1", "--warmup", "30", "--format", "json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)[0]["latency_ms"]["p50"]


def by_clock(program, arguments):
    command = [program, arguments.bundle, str(arguments.frames), str(arguments.threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return statistics.median(float(line) for line in output.split()) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", type=pathlib.Path, required=True)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--bundle", type=pathlib.Path, default=ROOT / "models/tiny.ccs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = built(arguments.library, pathlib.Path(folder))
        pairs = []
        for index in range(arguments.rounds):
            # Alternately first, so that a drift of the machine favours neither.
            if index % 2:
                outside = by_clock(program, arguments)
                bench = by_bench(arguments)
            else:
                bench = by_bench(arguments)
                outside = by_clock(program, arguments)
            pairs.append((bench, outside))
            print(f"round {index + 1}: bench {bench:.3f} ms, clock {outside:.3f} ms, ratio {bench / outside:.4f}", flush=True)
    bench, outside = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(bench / outside for bench, outside in pairs)
    print(f"median: bench {bench:.3f} ms, clock {outside:.3f} ms; median of the ratios {ratio:.4f}")


if __name__ == "__main__":
    main()
