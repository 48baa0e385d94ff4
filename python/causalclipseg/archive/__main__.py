"""``python -m causalclipseg.archive``."""

import argparse
import os
import signal
import sys
from typing import Any, List, Optional, Sequence

from ..errors import Error


def _arguments(given: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m causalclipseg.archive",
        description="Segments archives of ultrasound images into Parquet files, one row a frame and prompt. The same command goes on "
        "where it was stopped; what is done is not done again.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders with all folders in them, .parquet lists of paths, URLs of fsspec")
    parser.add_argument("-p", "--prompt", dest="prompts", action="append", required=True, metavar="PROMPT", help="sentence that describes the lesion; several share one pass over the image")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("-m", "--model", metavar="BUNDLE", help="bundle to use [default: the model inside the package]")
    parser.add_argument("--column", metavar="NAME", help="column of lists with the paths [default: path, input, url or file]")
    parser.add_argument("--threshold", type=float, metavar="T", help="probability above which a pixel is lesion [default: the model's]")
    parser.add_argument("--mm-per-pixel", type=_millimetres, metavar="MM", help="size of a pixel, X or X,Y [default: as the file says]")
    parser.add_argument("--workers", type=_count, metavar="N", help="processes, each with a model of its own [default: one a core]")
    parser.add_argument("--seg", action="store_true", help="also write DICOM SEG files of DICOM inputs, into DIR/seg")
    parser.add_argument("--retry-errors", action="store_true", help="do the inputs again that have an error")
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="run on Ray: on this machine, or on the cluster at ADDRESS (auto: the one that this machine belongs to)")
    return parser.parse_args(given)


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if not 1 <= number <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 to 4096")
    return number


def _millimetres(text: str) -> "tuple[float, float]":
    try:
        sides = [float(side) for side in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or not all(0 < side < float("inf") for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or two positive numbers, such as 0.07 or 0.07,0.08")
    return sides[0], sides[-1]


class _Stopped(Exception):
    """A signal asked for the end."""


def _stop(number: int, _: Any) -> None:
    raise _Stopped(number)


def run(arguments: argparse.Namespace) -> int:
    """One job. Files that fail are rows with an error; the status is 0 where every input has its rows."""
    # Not before: help and usage need none of these packages.
    try:
        from tqdm import tqdm

        from . import inputs, on_ray, processes
        from .results import Results
        from .segmenter import Settings
    except ImportError as error:
        raise Error(f"{error}: pip install 'causalclipseg[archive]'") from error
    from ..model import Model, _cores

    output = os.path.abspath(arguments.output)
    with Model.open(arguments.model) as model:
        # One bad sentence would be an error in every row.
        model.encode(arguments.prompts)
        if arguments.threshold is not None:
            model._opened().session(arguments.threshold, 0.0)
        settings = Settings(
            prompts=tuple(arguments.prompts),
            model=model.path,
            model_sha256=model.sha256,
            threshold=arguments.threshold,
            mm_per_pixel=arguments.mm_per_pixel,
            segmentations=os.path.join(output, "seg") if arguments.seg else None,
        )
    names = inputs.expand(arguments.inputs, arguments.column)
    with Results(output, settings) as results:
        if settings.segmentations:
            os.makedirs(settings.segmentations, exist_ok=True)
        if arguments.retry_errors:
            results.forget_errors()
        done = results.done()
        left = [name for name in names if name not in done]
        workers = arguments.workers or _cores()
        if arguments.ray:
            work = on_ray.segment(left, settings, workers, arguments.ray)
        else:
            work = processes.segment(left, settings, workers)
        try:
            # None: shown on a terminal alone.
            with tqdm(total=len(names), initial=len(names) - len(left), unit="file", disable=None) as bar:
                for finished, rows in work:
                    results.add(rows)
                    bar.update(len(finished))
        finally:
            work.close()
        results.flush()
        counts = results.counts()
    failed = f", {counts['failed']} of them with an error" if counts["failed"] else ""
    print(f"{output}: {counts['inputs']} inputs{failed}, {counts['rows']} rows; {len(left)} inputs were done now", file=sys.stderr)
    return 0


def main(given: Optional[List[str]] = None) -> int:
    arguments = _arguments(given)
    # Restored at the end, for a program that calls this.
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return run(arguments)
    except _Stopped as stopped:
        number = stopped.args[0]
        print(f"stopped by {signal.Signals(number).name}: what is done is kept; repeat the command to go on", file=sys.stderr)
        return 128 + int(number)
    except (Error, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
