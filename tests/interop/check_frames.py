"""Compares frames that causalclipseg reads with those of the reference readers, pixel by pixel.

Writes files with Pillow, tifffile, SimpleITK, pynrrd and nibabel, reads them with the example `frames`, and fails where a pixel
differs by more than one grey level of 256 from the writing library's:

    cargo build --example frames
    python tests/interop/check_frames.py target/debug/examples/frames
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image

HEIGHT, WIDTH = 48, 64


def picture(seed):
    """Grey, 8 bits, with structure and without symmetry."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(seed).normal(0, 12, (HEIGHT, WIDTH))
    return (90 + 60 * np.sin(x / 7 + seed) + x + noise - y).clip(0, 255).astype(np.uint8)


GREY = picture(1)
CLIP = np.stack([picture(seed) for seed in range(3)])
RGB = np.stack([picture(4), picture(5), picture(6)], -1)
DEEP = (GREY.astype(np.uint16) * 16 + 7).clip(0, 4095)
FLOAT = (GREY / 255).astype(np.float32)
SIGNED = GREY.astype(np.int16) * 8 - 1000


def between(values):
    """Scales the range from the smallest to the largest number to 8 bits."""
    return (values - values.min()) / (values.max() - values.min()) * 255


def pillow(image, **options):
    return lambda path: image.save(path, **options)


def itk(array, vector=False, **spacing):
    def write(path):
        image = sitk.GetImageFromArray(array, isVector=vector)
        if spacing:
            image.SetSpacing(spacing["spacing"])
        sitk.WriteImage(image, str(path), spacing.get("compress", False))

    return write


def nifti(array, kind=nibabel.Nifti1Image):
    # NIfTI's first axis is the columns.
    return lambda path: kind(array.T, np.eye(4)).to_filename(path)


def oriented(image, number):
    exif = Image.Exif()
    exif[0x112] = number
    return pillow(image, exif=exif)


def cases():
    """Yields name, writer, frames as 8-bit numbers, and the orientation as EXIF's number or by name."""
    grey, rgb = Image.fromarray(GREY), Image.fromarray(RGB)
    palette = rgb.quantize(64)
    deep = DEEP / 4095 * 255
    yield "grey.png", pillow(grey), [GREY]
    yield "grey16.png", pillow(Image.fromarray(DEEP)), [deep]
    yield "rgb.png", pillow(rgb), [RGB]
    yield "palette.png", pillow(palette), [np.array(palette.convert("RGB"))]
    yield "alpha.png", pillow(rgb.convert("RGBA")), [RGB]
    # Its grey levels are a palette, which is read as colours.
    yield "grey.bmp", pillow(grey), [np.stack([GREY] * 3, -1)]
    for compression in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        yield f"{compression}.tif", pillow(rgb, compression=compression), [RGB]
    yield "palette.tif", pillow(palette), [np.array(palette.convert("RGB"))]
    for bigtiff in [False, True]:
        name = "big" if bigtiff else "classic"
        write = lambda data, **more: lambda path: tifffile.imwrite(path, data, bigtiff=bigtiff, **more)  # noqa: E731
        yield f"{name}.tif", write(CLIP, photometric="minisblack"), list(CLIP)
        yield f"{name}_big_endian.tif", lambda path, b=bigtiff: tifffile.imwrite(path, DEEP, bigtiff=b, byteorder=">"), [deep]
        yield f"{name}_float.tif", write(FLOAT), [GREY]
        yield f"{name}_signed.tif", write(SIGNED), [between(SIGNED)]
        yield f"{name}_tiles.tif", write(RGB, tile=(16, 16), photometric="rgb"), [RGB]
        planar = dict(photometric="rgb", planarconfig="separate")
        yield f"{name}_planes.tif", write(np.moveaxis(RGB, -1, 0), **planar), [RGB]
        yield f"{name}_rgb16.tif", write(RGB.astype(np.uint16) * 257, photometric="rgb"), [RGB]
    for ending in ["mha", "mhd", "nrrd", "nhdr", "nii", "nii.gz"]:
        name = ending.replace(".", "_")
        spacing = dict(spacing=(0.3, 0.2))
        yield f"itk_{name}.{ending}", itk(GREY, **spacing), [GREY]
        yield f"itk_{name}_deep.{ending}", itk(DEEP, **spacing), [deep]
        yield f"itk_{name}_signed.{ending}", itk(SIGNED, **spacing), [between(SIGNED)]
        yield f"itk_{name}_float.{ending}", itk(FLOAT, **spacing), [GREY]
        yield f"itk_{name}_double.{ending}", itk(FLOAT.astype(np.float64), **spacing), [GREY]
        yield f"itk_{name}_volume.{ending}", itk(CLIP, spacing=(0.3, 0.2, 1.5)), list(CLIP)
        # ITK writes colours into NIfTI as vectors, plane after plane, which are refused by name.
        if not ending.startswith("nii"):
            yield f"itk_{name}_rgb.{ending}", itk(RGB, vector=True, **spacing), [RGB]
            rgba = np.concatenate([RGB, RGB[..., :1]], -1)
            yield f"itk_{name}_rgba.{ending}", itk(rgba, vector=True, **spacing), [RGB]
            yield f"itk_{name}_packed.{ending}", itk(CLIP, spacing=(0.3, 0.2, 1.5), compress=True), list(CLIP)
    for encoding in ["raw", "gzip", "ascii"]:
        write = lambda path, e=encoding: nrrd.write(str(path), CLIP, {"encoding": e}, index_order="C")  # noqa: E731
        yield f"pynrrd_{encoding}.nrrd", write, list(CLIP)
    slicer = {"encoding": "gzip", "kinds": ["list", "domain", "domain", "domain"]}
    interleaved = np.moveaxis(CLIP, 0, -1)[None]
    yield "slicer.seq.nrrd", lambda path: nrrd.write(str(path), interleaved, slicer, index_order="C"), list(CLIP)
    for kind in [nibabel.Nifti1Image, nibabel.Nifti2Image]:
        yield f"{kind.__name__}.nii", nifti(CLIP[:, None], kind), list(CLIP)
        yield f"{kind.__name__}_deep.nii.gz", nifti(DEEP, kind), [deep]
    rgb24 = np.ascontiguousarray(RGB.transpose(1, 0, 2)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    yield "rgb24.nii", lambda path: nibabel.Nifti1Image(rgb24, np.eye(4)).to_filename(path), [RGB]
    yield "pair.hdr", lambda path: nibabel.Nifti1Pair(GREY.T, np.eye(4)).to_filename(path), [GREY]
    for number in range(1, 9):
        yield f"exif{number}.png", oriented(grey, number), [GREY]
        yield f"exif{number}.tif", pillow(grey, tiffinfo={274: number}), [GREY]


def jpegs():
    """Decodes Pillow's JPEG files with Pillow: other decoders round differently, by a level or two in colour."""
    for quality in [60, 95]:
        for image, name in [(Image.fromarray(GREY), "grey"), (Image.fromarray(RGB), "rgb")]:
            for progressive in [False, True]:
                options = dict(quality=quality, progressive=progressive, subsampling=0)
                yield f"{name}{quality}{progressive}.jpg", pillow(image, **options)


def read(program, path, folder):
    done = subprocess.run([program, path, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stderr.strip()
    frames = []
    for name in sorted(folder.glob("f*.png")):
        pixels = np.array(Image.open(name))
        frames.append(pixels / 257 if pixels.dtype != np.uint8 else pixels.astype(float))
    return frames, json.loads(done.stdout)


def main():
    program = sys.argv[1]
    count, failures = 0, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        listed = [(name, write, frames, 1.0) for name, write, frames in cases()]
        listed += [(name, write, None, 2.0) for name, write in jpegs()]
        for name, write, expected, limit in listed:
            path = folder / name
            write(path)
            expected = expected or [np.array(Image.open(path))]
            frames, description = read(program, path, folder / f"{name}_frames")
            count += 1
            if frames is None:
                failures.append(f"{name}: {description}")
                continue
            if len(frames) != len(expected):
                failures.append(f"{name}: {len(frames)} frames, not {len(expected)}")
                continue
            pairs = list(zip(frames, expected))
            if any(found.shape != np.shape(other) for found, other in pairs):
                failures.append(f"{name}: {frames[0].shape}, not {np.shape(expected[0])}")
                continue
            worst = max(np.abs(found - other).max() for found, other in pairs)
            if worst > limit:
                failures.append(f"{name}: a pixel differs by {worst:.1f} levels")
            if name.startswith("exif"):
                from_name = int(name[4])
                names = ["upright", "mirrored_horizontally", "rotated180", "mirrored_vertically", "transposed", "rotated90",
                         "transposed_across", "rotated270"]
                if description["orientation"] != names[from_name - 1]:
                    failures.append(f"{name}: orientation {description['orientation']}")
            if name.startswith("itk_") and "mm_per_pixel" in description:
                mm = description["mm_per_pixel"]
                if mm is None or abs(mm[0] - 0.3) > 1e-6 or abs(mm[1] - 0.2) > 1e-6:
                    failures.append(f"{name}: {mm} mm a pixel")
    print("\n".join(failures) or f"{count} files are read as their writers read them")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
