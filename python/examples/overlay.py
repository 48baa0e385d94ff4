"""Segments a picture and draws what was found over it, with matplotlib.

    pip install causalclipseg matplotlib
    python overlay.py scan.png "a dark nodule" -o overlay.png
"""

# %% What is needed
import argparse

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import causalclipseg

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("image")
parser.add_argument("prompts", nargs="+")
parser.add_argument("-o", "--output", default="overlay.png")
parser.add_argument("--mm-per-pixel", type=float)
arguments = parser.parse_args()

# %% The findings: one a prompt, from one pass over the image
model = causalclipseg.Model.open()
frame = next(causalclipseg.read_frames(arguments.image))
findings = model.segment(frame, arguments.prompts, mm_per_pixel=arguments.mm_per_pixel)

# %% One panel for the probability of each, with the mask's contours and diameters
figure, panels = plt.subplots(1, len(findings), figsize=(4 * len(findings), 4), squeeze=False, layout="constrained")
for panel, finding in zip(panels[0], findings):
    panel.imshow(frame.pixels, cmap="gray", vmin=0, vmax=np.iinfo(frame.pixels.dtype).max)
    seen = np.ma.masked_less(finding.probability, 0.05)
    panel.imshow(seen, cmap="viridis", vmin=0, vmax=1, alpha=0.35)
    for contour in finding.contours:
        # Corners lie on the edges of pixels, and imshow has the first pixel's centre at 0.
        x, y = contour.points.astype(float).T - 0.5
        panel.plot(np.append(x, x[0]), np.append(y, y[0]), color="yellow", linewidth=1)
    measured, quality = finding.measurements, finding.quality
    for diameter in (measured.longest_diameter, measured.perpendicular_diameter):
        if diameter is not None:
            (x0, y0), (x1, y1) = diameter.ends
            panel.plot([x0 - 0.5, x1 - 0.5], [y0 - 0.5, y1 - 0.5], "--", color="white", linewidth=0.8)
    area = f"{measured.area_px} px" if measured.area_mm2 is None else f"{measured.area_mm2:.0f} mm²"
    panel.set_title(f"{finding.prompt}\n{area}, score {quality.score:.2f}", fontsize=9)
    panel.set_xlabel(", ".join(finding.flags) or "no flags", fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])
figure.savefig(arguments.output, dpi=90)
print(*findings, sep="\n")
