"""Throughput of archives: a plain loop over `Model.segment_clip`, and the pool with 1 and more workers, in turns.

    python archive.py [--files 200] [--size 640x480] [--rounds 3] [--workers 1,2] [--ray]

Files are noisy phantoms as PNG. Each way yields the same rows. Reports files a second of each round's median, without the start of
processes, and each way's overhead against the loop: the time a file takes with one worker over that of the loop, minus 1. On Linux it
reports the same for processor time, of this process and of all that it started: on a machine with other work this says more.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Generator

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


def processor_s() -> float:
    """Processor time that this process and its descendants have used so far; 0 where the system does not say."""
    parents, used = {}, {}
    for entry in os.scandir("/proc") if os.path.isdir("/proc") else []:
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            # Its own time and that of children that have ended.
            used[int(entry.name)] = sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while True:
        more = {child for child, parent in parents.items() if parent in own} - own
        if not more:
            return sum(used.get(process, 0) for process in own) / os.sysconf("SC_CLK_TCK")
        own |= more


class Clock:
    """Time and processor time since it was made."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), processor_s()

    def spent(self, share: float = 1.0) -> "tuple[float, float]":
        """Both, divided by the share of the work that was done."""
        return (time.perf_counter() - self.begun[0]) / share, (processor_s() - self.begun[1]) / share


def loop(names: "list[str]", settings: Settings) -> "tuple[float, float]":
    """The plain loop: measured and packed, as a script without the archive's machinery would."""
    segmenter = Segmenter(settings)
    segmenter.segment(names[:2])
    clock = Clock()
    for name in names:
        segmenter.segment([name])
    return clock.spent()


def bare(names: "list[str]", settings: Settings) -> "tuple[float, float]":
    """Masks and measurements alone: nothing is packed."""
    with causalclipseg.Model.open() as model:
        model.segment(names[0], settings.prompts)
        clock = Clock()
        for name in names:
            for finding in model.segment(name, settings.prompts):
                finding.mask, finding.quality, finding.measurements
        return clock.spent()


def job(work: "Generator", count: int) -> "tuple[float, float]":
    """From the first result on, so that the start of processes is left out; to the last, with all processes alive."""
    next(work)
    clock, files, spent = Clock(), 0, (0.0, 0.0)
    for done, _ in work:
        files += len(done)
        # The last result comes before the processes end, and with them what is known of them.
        if files >= count - 64:
            spent = clock.spent(files / count)
    return spent


def pool(names: "list[str]", settings: Settings, workers: int) -> "tuple[float, float]":
    return job(processes.segment(names, settings, workers), len(names))


def rays(names: "list[str]", settings: Settings, workers: int) -> "tuple[float, float]":
    from causalclipseg.archive import on_ray

    return job(on_ray.segment(names, settings, workers, "local"), len(names))


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
    base = [statistics.median(each) for each in zip(*seconds["plain loop"])]
    for way, taken in seconds.items():
        clock, used = zip(*taken)
        middle, work = statistics.median(clock), statistics.median(used)
        spread = f"{min(clock) / len(names) * 1e3:.1f} to {max(clock) / len(names) * 1e3:.1f}"
        said = f"{len(names) / middle:6.1f} files/s, {middle / len(names) * 1e3:5.1f} ms a file ({spread}), {middle / base[0] - 1:+.1%} against the loop"
        print(f"{way:14} {said}; processor {work / len(names) * 1e3:5.1f} ms a file, {work / base[1] - 1 if base[1] else 0:+.1%}")


if __name__ == "__main__":
    main()
