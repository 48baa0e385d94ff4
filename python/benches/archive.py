"""Throughput of archives: a plain loop over `Model.segment_clip`, and the pool with 1 and more workers, in turns.

    python archive.py [--files 200] [--size 640x480] [--rounds 3] [--workers 1,2] [--ray]

Files are noisy phantoms as PNG. Each way yields the same rows. Reports files a second of each round's median, without the start of
processes, and each way's overhead against the loop: the time a file takes with one worker over that of the loop, minus 1.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import causalclipseg
from causalclipseg.archive import processes
from causalclipseg.archive.segmenter import Segmenter, Settings


def write_files(folder: Path, count: int, width: int, height: int) -> "list[str]":
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    names = []
    for number in range(count):
        speckle = rng.rayleigh(60, (height, width))
        centre = (width * (0.3 + 0.4 * rng.random()), height * (0.3 + 0.4 * rng.random()))
        inside = ((x - centre[0]) / (width * 0.12)) ** 2 + ((y - centre[1]) / (height * 0.1)) ** 2 < 1
        pixels = np.clip(np.where(inside, speckle * 0.25, speckle), 0, 255).astype(np.uint8)
        names.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(names[-1])
    return names


def loop(names: "list[str]", settings: Settings) -> float:
    """The plain loop: measured and packed, as a script without the archive's machinery would."""
    segmenter = Segmenter(settings)
    segmenter.segment(names[:2])
    begun = time.perf_counter()
    for name in names:
        segmenter.segment([name])
    return time.perf_counter() - begun


def bare(names: "list[str]", settings: Settings) -> float:
    """Masks and measurements alone: nothing is packed."""
    with causalclipseg.Model.open() as model:
        model.segment(names[0], settings.prompts)
        begun = time.perf_counter()
        for name in names:
            for finding in model.segment(name, settings.prompts):
                finding.mask, finding.quality, finding.measurements
        return time.perf_counter() - begun


def pool(names: "list[str]", settings: Settings, workers: int) -> float:
    """From the first result on, so that the start of processes is left out."""
    work = processes.segment(names, settings, workers)
    next(work)
    begun, files = time.perf_counter(), 0
    for done, _ in work:
        files += len(done)
    return (time.perf_counter() - begun) * len(names) / files


def rays(names: "list[str]", settings: Settings, workers: int) -> float:
    from causalclipseg.archive import on_ray

    work = on_ray.segment(names, settings, workers, "local")
    next(work)
    begun, files = time.perf_counter(), 0
    for done, _ in work:
        files += len(done)
    return (time.perf_counter() - begun) * len(names) / files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--ray", action="store_true")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with causalclipseg.Model.open() as model:
        settings = Settings(("a dark nodule",), model_sha256=model.sha256)
    with tempfile.TemporaryDirectory() as folder:
        names = write_files(Path(folder), arguments.files, width, height)
        ways = {"segment alone": lambda: bare(names, settings), "plain loop": lambda: loop(names, settings)}
        for workers in map(int, arguments.workers.split(",")):
            ways[f"pool, {workers}"] = lambda workers=workers: pool(names, settings, workers)
            if arguments.ray:
                ways[f"Ray, {workers}"] = lambda workers=workers: rays(names, settings, workers)
        seconds = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, measure in ways.items():
                seconds[way].append(measure())
    base = statistics.median(seconds["plain loop"])
    for way, taken in seconds.items():
        middle = statistics.median(taken)
        spread = f"{min(taken) / len(names) * 1e3:.1f} to {max(taken) / len(names) * 1e3:.1f}"
        print(f"{way:14} {len(names) / middle:6.1f} files/s, {middle / len(names) * 1e3:5.1f} ms a file ({spread}), {middle / base - 1:+.1%} against the loop")


if __name__ == "__main__":
    main()
