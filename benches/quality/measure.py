#!/usr/bin/env python3
"""Measures how well the quality block of `segment` predicts Dice, and how often a frame of another organ is flagged.

needs: numpy, pillow, openpyxl
usage: measure.py COMMAND DATA [IRRELEVANT...]
  COMMAND     the causalclipseg command
  DATA        a data set in MedCLIPSeg's layout; its validation images are used, each under its own sentence
  IRRELEVANT  DICOM or MetaImage files, or folders of pictures, of other organs
"""
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

SENTENCE = "The center region contains a detected benign mass."


def ranks(values):
    """Ranks, ties at their mean."""
    values = np.asarray(values, float)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(a, b):
    """Spearman's rank correlation; nan where all values are the same."""
    a, b = ranks(a), ranks(b)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def segment(command, inputs, sentence, out):
    arguments = ["segment", *map(str, inputs), "-p", sentence, "-o", str(out), "--format", "mask,json", "--confounders"]
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)


def records(path):
    found = json.loads(path.read_text())
    return found.get("frames", [found])


def of_data(command, data, out):
    rows = openpyxl.load_workbook(data / "Prompts_Folder/Val_text.xlsx").active.iter_rows(values_only=True)
    header = next(rows)
    images, sentences = header.index("Image"), header.index("Description")
    truth = header.index("Ground Truth") if "Ground Truth" in header else images
    by_sentence = defaultdict(list)
    for row in rows:
        if row[images]:
            by_sentence[row[sentences].strip()].append((row[images], row[truth]))
    judged = []
    for sentence, names in by_sentence.items():
        segment(command, [data / "Val_Folder/img" / image for image, _ in names], sentence, out)
        for image, mask in names:
            stem = Path(image).stem
            found = np.asarray(Image.open(out / f"{stem}_mask.png")) > 0
            label = Image.open(data / "Val_Folder/label" / mask).convert("L").resize(found.shape[::-1], Image.NEAREST)
            true = np.asarray(label) > 127
            dice = 2 * (found & true).sum() / max(1, found.sum() + true.sum())
            judged.append((float(dice), records(out / f"{stem}.json")[0]))
    return judged


def report_data(judged):
    dice = [dice for dice, _ in judged]
    print(f"{len(judged)} images, Dice {np.mean(dice):.3f}; rank correlation with Dice:")
    quality = [record["quality"] for _, record in judged]
    for name, of in {
        "score": lambda q: q["score"],
        "mean_probability": lambda q: q["mean_probability"] or 0,
        "min_probability": lambda q: q["min_probability"] or 0,
        "max_probability": lambda q: q["max_probability"],
        "stability": lambda q: q["stability"],
        "1 - confounder_share": lambda q: 1 - (q["confounder_share"] or 0),
    }.items():
        # nan where all values are the same
        print(f"  {name:22} {spearman([of(q) for q in quality], dice):+.3f}")
    order = np.argsort([q["score"] for q in quality])
    for part in (10, 4, 2):
        worst = [dice[i] for i in order[: len(order) // part]]
        print(f"  the lowest 1/{part} by score: Dice {np.mean(worst):.3f}")
    flags(judged, lambda dice: True, "all")
    flags(judged, lambda dice: dice < 0.5, "Dice below 0.5")
    flags(judged, lambda dice: dice >= 0.8, "Dice 0.8 and more")


def flags(judged, wanted, name):
    chosen = [record["quality"]["flags"] for dice, record in judged if wanted(dice)]
    counts = defaultdict(int)
    for these in chosen:
        for flag in these:
            counts[flag] += 1
    flagged = sum(bool(these) for these in chosen)
    print(f"  {name}: {flagged} of {len(chosen)} flagged {dict(sorted(counts.items()))}")


def made_up(folder):
    """Frames without content: black, grey, noise of two kinds, a ramp, text-like bars."""
    random = np.random.default_rng(0)
    height, width = 400, 500
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    blurred = random.normal(128, 60, (height, width))
    for _ in range(3):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, 1, 1) + np.roll(blurred, (1, 1), (0, 1))) / 4
    speckle = (blurred - blurred.mean()) / blurred.std() * 40 + 90
    frames = {
        "black": np.zeros((height, width)),
        "grey": np.full((height, width), 128),
        "dark noise of a sensor": np.abs(random.normal(0, 2, (height, width))),
        "white noise": random.integers(0, 256, (height, width)),
        "weak white noise": random.normal(60, 12, (height, width)),
        "speckle alone": speckle,
        "ramp": x / width * 255,
        "bars": ((x // 20) % 2) * 255 * (y > 50),
    }
    for name, pixels in frames.items():
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    return frames


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__.strip())
    command, data, irrelevant = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    with tempfile.TemporaryDirectory() as folder:
        out, empty = Path(folder) / "out", Path(folder) / "in"
        empty.mkdir()
        report_data(of_data(command, data, out))
        print("frames without content:")
        names = made_up(empty)
        segment(command, [empty / f"{name}.png" for name in names], SENTENCE, out)
        for name in names:
            record = records(out / f"{name}.json")[0]
            quality = record["quality"]
            print(f"  {name:22} {quality['score']:.2f} {record['area_fraction']:.3f} {quality['flags']}")
        if irrelevant:
            print("other organs:")
        for path in map(Path, irrelevant):
            segment(command, [path], SENTENCE, out)
            found = records(out / f"{path.stem}.json")
            # A repeated frame gives no information about its contents.
            for record in found:
                record["quality"]["flags"] = [f for f in record["quality"]["flags"] if f != "frozen_frame"]
            flags([(0, record) for record in found], lambda dice: True, path.stem)


if __name__ == "__main__":
    main()
