// Draws a frame with its findings, upright, and describes them in words.

// Told apart without colour vision, by their names and their lightness.
export const COLOURS = [
  ["yellow", 255, 212, 71], ["sky blue", 86, 180, 233], ["vermilion", 235, 110, 50], ["green", 0, 190, 140],
  ["purple", 214, 138, 190], ["white", 255, 255, 255], ["blue", 70, 130, 230], ["orange", 240, 170, 20],
].map(([name, r, g, b]) => ({ name, rgb: [r, g, b], css: `rgb(${r} ${g} ${b})` }));

// EXIF's orientations as matrices of a canvas, for a stored picture of width w and height h.
const UPRIGHT = [
  () => [1, 0, 0, 1, 0, 0], (w) => [-1, 0, 0, 1, w, 0], (w, h) => [-1, 0, 0, -1, w, h], (w, h) => [1, 0, 0, -1, 0, h],
  () => [0, 1, 1, 0, 0, 0], (w, h) => [0, 1, -1, 0, h, 0], (w, h) => [0, -1, -1, 0, h, w], (w) => [0, -1, 1, 0, 0, w],
];

/** Draws the frame and, where asked for, masks and contours. */
export function draw(canvas, report, { masks, contours }) {
  const { width, height, orientation } = report;
  const picture = new ImageData(new Uint8ClampedArray(report.pixels), width, height);
  if (masks) {
    report.findings.forEach(({ mask }, index) => tint(picture.data, mask, COLOURS[index].rgb));
  }
  const stored = new OffscreenCanvas(width, height);
  stored.getContext("2d").putImageData(picture, 0, 0);
  const turned = orientation >= 5;
  canvas.width = turned ? height : width;
  canvas.height = turned ? width : height;
  const context = canvas.getContext("2d");
  context.setTransform(...UPRIGHT[orientation - 1](width, height));
  context.drawImage(stored, 0, 0);
  if (contours) {
    // The same on the screen for small and large images.
    context.lineWidth = Math.max(1, Math.max(width, height) / 300);
    report.findings.forEach((finding, index) => {
      context.strokeStyle = COLOURS[index].css;
      context.setLineDash(index === 0 ? [] : [context.lineWidth * 3 * (index + 1), context.lineWidth * 2]);
      for (const { points } of finding.contours) {
        context.beginPath();
        points.forEach(([x, y], corner) => corner ? context.lineTo(x, y) : context.moveTo(x, y));
        context.closePath();
        context.stroke();
      }
    });
  }
}

function tint(pixels, mask, [r, g, b]) {
  for (let index = 0; index < mask.length; index++) {
    if (mask[index] === 0) continue;
    const at = 4 * index;
    pixels[at] = 0.65 * pixels[at] + 0.35 * r;
    pixels[at + 1] = 0.65 * pixels[at + 1] + 0.35 * g;
    pixels[at + 2] = 0.65 * pixels[at + 2] + 0.35 * b;
  }
}

const REMARKS = {
  blank_frame: "the image has no contrast",
  frozen_frame: "the image equals the one before",
  noise_frame: "does not look like ultrasound",
  unfamiliar_frame: "unlike the images that the model was trained on",
  invalid_frame: "the source marks this frame as lost",
  nothing_found: "nothing found",
  low_score: "unreliable",
  unknown_words: "words that the model was not trained on",
};

const number = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** The columns of a finding's row, as texts. */
export function describe(finding) {
  const { area_px, area_fraction, area_mm2, longest_diameter, mean_probability, quality } = finding;
  const area = `${number(area_px, 0)} px (${number(100 * area_fraction, 1)} %)`;
  const longest = longest_diameter;
  const length = longest && (longest.length_mm === null ? `${number(longest.length_px, 0)} px` : `${number(longest.length_mm, 1)} mm`);
  return [
    finding.prompt,
    area_mm2 === null ? area : `${number(area_mm2, 0)} mm², ${area}`,
    length ?? "none",
    mean_probability === null ? "none" : number(mean_probability, 2),
    quality === null ? "none" : number(quality.score, 2),
    quality === null ? "" : quality.flags.map((flag) => REMARKS[flag] ?? flag).join("; "),
  ];
}

/** One sentence for those who do not see the picture. */
export function inWords(report) {
  const found = report.findings.map((finding) => {
    if (finding.area_px === 0) return `nothing for “${finding.prompt}”`;
    const [x, y] = finding.centroid;
    const place = (part, names) => names[Math.min(2, Math.floor(3 * part))];
    const row = place(y / report.height, ["top", "middle", "bottom"]);
    const column = place(x / report.width, ["left", "centre", "right"]);
    return `“${finding.prompt}”: ${describe(finding)[1]} at the ${row} ${column}`;
  });
  return `Image of ${report.width} x ${report.height} pixels; found: ${found.join("; ")}.`;
}

/** A PNG of a mask: 0 and 255, at the image's own size and as it is stored, like the command's. */
export async function maskAsPng({ width, height }, mask) {
  const grey = new ImageData(width, height);
  mask.forEach((level, index) => grey.data.set([level, level, level, 255], 4 * index));
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(grey, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
