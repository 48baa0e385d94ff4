"""Images in, findings out."""

import json
import pickle
import subprocess

import numpy as np
import pytest

import causalclipseg
from causalclipseg import ImageError, ImageTypeError, OptionError, PromptError, read_frames

from conftest import PROMPTS, write_dicom


def same(a, b):
    return all(np.array_equal(x.mask, y.mask) and np.array_equal(x.probability, y.probability) for x, y in zip(a, b))


def test_a_finding_has_all_its_parts(model, phantom):
    findings = model.segment(phantom, PROMPTS, mm_per_pixel=(0.1, 0.2))
    assert [finding.prompt for finding in findings] == PROMPTS
    finding = findings[0]
    assert finding.mask.dtype == bool and finding.mask.shape == phantom.shape and finding.mask.any()
    assert finding.probability.dtype == np.float32 and finding.probability.shape == phantom.shape
    assert np.array_equal(finding.mask, finding.probability > finding.threshold)
    area = int(finding.mask.sum())
    measured = finding.measurements
    assert measured.area_px == area and measured.area_mm2 == pytest.approx(area * 0.02)
    assert measured.area_fraction == pytest.approx(area / phantom.size)
    ys, xs = np.nonzero(finding.mask)
    assert measured.bbox == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
    assert measured.centroid == pytest.approx((xs.mean() + 0.5, ys.mean() + 0.5))
    inside = finding.probability[finding.mask].astype(float)
    assert measured.mean_probability == pytest.approx(inside.mean())
    longest = measured.longest_diameter
    (x0, y0), (x1, y1) = longest.ends
    assert longest.length_px == pytest.approx(np.hypot(x1 - x0, y1 - y0))
    assert longest.length_mm == pytest.approx(np.hypot((x1 - x0) * 0.1, (y1 - y0) * 0.2), rel=1e-5)
    quality = finding.quality
    assert quality.mean_probability == pytest.approx(inside.mean()) and quality.max_probability == pytest.approx(finding.probability.max())
    assert quality.area_px_at == tuple(int((finding.probability > at).sum()) for at in np.float32([0.3, 0.5, 0.7]))
    assert 0 <= quality.score <= 1 and isinstance(quality.flags, tuple) and finding.flags == quality.flags
    assert isinstance(quality.present, bool) and 0 <= quality.expected_dice <= 1
    assert finding.confounders is None and "score" in repr(finding)


def test_contours_enclose_the_mask(model, phantom):
    finding = model.segment(phantom, PROMPTS[0])[0]
    area = 0.0
    for contour in finding.contours:
        assert contour.points.dtype == np.uint32 and contour.points.ndim == 2 and contour.points.shape[1] == 2
        x, y = contour.points.astype(float).T
        enclosed = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
        assert (enclosed < 0) == contour.hole
        area += enclosed
    assert area == finding.mask.sum()


def test_masks_equal_those_of_the_command(model, phantom_path, command, tmp_path):
    image = pytest.importorskip("PIL.Image")
    arguments = [command, "segment", str(phantom_path), "-o", str(tmp_path), "--format", "mask,json"]
    for prompt in PROMPTS:
        arguments += ["-p", prompt]
    subprocess.run(arguments, check=True, capture_output=True)
    masks, records = sorted(tmp_path.glob("*mask.png")), sorted(tmp_path.glob("*.json"))
    assert len(masks) == len(records) == len(PROMPTS)
    for finding, mask, record in zip(model.segment(phantom_path, PROMPTS), masks, records):
        assert np.array_equal(finding.mask, np.asarray(image.open(mask)) == 255)
        told = json.loads(record.read_text())
        assert told["prompt"] == finding.prompt and told["area_px"] == finding.measurements.area_px
        assert told["quality"]["score"] == finding.quality.score
        assert tuple(told["quality"]["flags"]) == finding.flags


def test_a_path_an_array_and_a_frame_are_one_image(model, phantom, phantom_path):
    from_path = model.segment(phantom_path, PROMPTS)
    assert same(from_path, model.segment(str(phantom_path), PROMPTS))
    frame = next(read_frames(phantom_path))
    assert same(from_path, model.segment(frame, PROMPTS))
    assert same(from_path, model.segment(frame.pixels, PROMPTS))
    content = read_frames("somewhere.png", content=phantom_path.read_bytes())
    assert same(from_path, model.segment(next(content), PROMPTS))
    assert frame.shape == phantom.shape and frame.valid and frame.orientation == 1


@pytest.mark.parametrize("name", ["view", "fortran", "reversed", "transposed", "read-only", "byte-swapped 16 bit", "odd address", "one channel"])
def test_how_pixels_lie_in_memory_changes_nothing(model, phantom, name):
    expected = model.segment(phantom.copy(), PROMPTS)
    wide = np.zeros((phantom.shape[0] * 2, phantom.shape[1] * 3), np.uint8)
    wide[::2, ::3] = phantom
    frozen = phantom.copy()
    frozen.flags.writeable = False
    made = {
        "view": lambda: wide[::2, ::3],
        "fortran": lambda: np.asfortranarray(phantom),
        "reversed": lambda: np.ascontiguousarray(phantom[::-1, ::-1])[::-1, ::-1],
        "transposed": lambda: np.ascontiguousarray(phantom.T).T,
        "read-only": lambda: frozen,
        "byte-swapped 16 bit": lambda: phantom.astype(">u2") * 257,
        "odd address": lambda: np.frombuffer(b"\0" + (phantom.astype(np.uint16) * 257).tobytes(), np.uint8)[1:].view(np.uint16).reshape(phantom.shape),
        "one channel": lambda: phantom[:, :, None],
    }[name]()
    if made.dtype.itemsize == 2:
        if name != "odd address":
            made = made.astype(">u2")
        assert made.dtype.byteorder == ">" or not made.flags.aligned
        expected = model.segment(phantom.astype(np.uint16) * 257, PROMPTS)
    before = made.copy()
    assert same(model.segment(made, PROMPTS), expected)
    assert np.array_equal(made, before)


def test_colours(model, phantom):
    rgb = np.stack([phantom] * 3, axis=-1)
    rgb[:, :, 0] //= 2
    expected = model.segment(rgb, PROMPTS)
    alpha = np.concatenate([rgb, np.full((*phantom.shape, 1), 7, np.uint8)], axis=-1)
    assert same(model.segment(alpha, PROMPTS), expected)
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    assert same(model.segment(np.moveaxis(planes, 0, -1), PROMPTS), expected)
    assert not same(model.segment(rgb[:, :, ::-1], PROMPTS), expected)


def test_floats_are_zero_to_one(model, phantom):
    grey = phantom.astype(np.uint16) * 257
    expected = model.segment(grey, PROMPTS)
    for dtype in (np.float32, np.float64, ">f8"):
        assert same(model.segment((grey / 65535).astype(dtype), PROMPTS), expected)
    rgb = np.stack([phantom] * 3, axis=-1)
    assert same(model.segment(rgb / 255, PROMPTS), model.segment(rgb, PROMPTS))
    for bad in (phantom.astype(float), phantom / 255 - 0.1, np.nan, np.inf, -np.inf):
        image = np.asarray(bad, dtype=float)
        if image.ndim == 0:
            image = (phantom / 255).copy()
            image[3, 5] = bad
        with pytest.raises(ImageError) as caught:
            model.segment(image, PROMPTS)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, complex, object, "U1", "datetime64[s]"])
def test_other_types_of_number_are_refused(model, dtype):
    with pytest.raises(ImageTypeError) as caught:
        model.segment(np.zeros((8, 8), dtype), PROMPTS)
    assert isinstance(caught.value, TypeError) and "uint8" in str(caught.value)


def test_sixteen_bit_colours_are_refused(model):
    with pytest.raises(ImageTypeError, match="8 bits"):
        model.segment(np.zeros((8, 8, 3), np.uint16), PROMPTS)


@pytest.mark.parametrize("shape", [(), (9,), (0, 9), (9, 0), (0, 0), (0, 0, 3), (9, 9, 0), (9, 9, 2), (9, 9, 5), (3, 9, 9), (1, 9, 9, 3), (20000, 1), (1, 20000)])
def test_other_shapes_are_refused(model, shape):
    with pytest.raises(ImageError) as caught:
        model.segment(np.zeros(shape, np.uint8), PROMPTS)
    assert "\n" not in str(caught.value)
    assert ("moveaxis" in str(caught.value)) == (shape == (3, 9, 9))


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3, 3), (1000, 7)])
def test_small_and_narrow_images(model, shape):
    finding = model.segment(np.full(shape, 90, np.uint8), PROMPTS[0])[0]
    assert finding.mask.shape == shape[:2]


@pytest.mark.parametrize("image", [None, 7, [[1, 2], [3, 4]], b"scan.png", {"a": 1}])
def test_what_is_no_image(model, image):
    with pytest.raises(TypeError):
        model.segment(image, PROMPTS)


def test_pillow_images_are_arrays(model, phantom, phantom_path):
    image = pytest.importorskip("PIL.Image")
    assert same(model.segment(image.open(phantom_path).convert("L"), PROMPTS), model.segment(phantom, PROMPTS))


def test_prompts(model, phantom):
    assert len(model.segment(phantom, PROMPTS[0])) == 1
    assert len(model.segment(phantom, (text for text in PROMPTS))) == 2
    for bad in ("", "   ", [], [""], ["a dark nodule", "\n"], "word " * 500):
        with pytest.raises(PromptError) as caught:
            model.segment(phantom, bad)
        assert isinstance(caught.value, ValueError)
    for bad in (None, 3, [3], [None], [b"a dark nodule"], [["a dark nodule"]]):
        with pytest.raises(TypeError):
            model.segment(phantom, bad)
    assert "unknown_words" in model.segment(phantom, "a zyxwvut")[0].flags


def test_options(model, phantom):
    low, high = (model.segment(phantom, PROMPTS[0], threshold=at)[0] for at in (0.1, 0.9))
    assert low.mask.sum() > high.mask.sum() and (low.mask | ~high.mask).all()
    assert low.threshold == pytest.approx(0.1)
    height, width = phantom.shape
    part = model.segment(phantom, PROMPTS[0], region=(10, 20, width // 2, height // 2))[0]
    outside = np.ones(phantom.shape, bool)
    outside[20 : 20 + height // 2, 10 : 10 + width // 2] = False
    assert not part.mask[outside].any() and not part.probability[outside].any()
    square = model.segment(phantom, PROMPTS[0], mm_per_pixel=0.1)[0].measurements
    assert square.area_mm2 == pytest.approx(square.area_px * 0.01)
    bad_values = [
        {"threshold": 0}, {"threshold": 1}, {"threshold": float("nan")}, {"mm_per_pixel": 0}, {"mm_per_pixel": (1, -1)},
        {"mm_per_pixel": (1, 1, 1)}, {"mm_per_pixel": float("nan")}, {"region": (0, 0, 0, 5)}, {"region": (0, 0, width + 1, 5)},
        {"region": (-1, 0, 5, 5)}, {"region": (0, 0, 5)}, {"region": (0, 0, 1 << 70, 5)},
    ]
    for options in bad_values:
        with pytest.raises(OptionError):
            model.segment(phantom, PROMPTS[0], **options)
    for options in ({"threshold": "high"}, {"mm_per_pixel": "wide"}, {"region": 5}, {"region": (0, 0, 5.5, 5)}, {"region": "abcd"}):
        with pytest.raises(TypeError):
            model.segment(phantom, PROMPTS[0], **options)


def test_confounders(phantom):
    with causalclipseg.Model.open(confounders=True) as other:
        finding = other.segment(phantom, PROMPTS[0])[0]
    assert finding.confounders.shape == phantom.shape and finding.confounders.dtype == np.float32


def test_a_finding_survives_a_pickle(model, phantom):
    finding = model.segment(phantom, PROMPTS[0], mm_per_pixel=0.1)[0]
    again = pickle.loads(pickle.dumps(finding))
    assert same([again], [finding]) and again.quality == finding.quality and again.measurements == finding.measurements
    assert (again.prompt, again.threshold) == (finding.prompt, finding.threshold)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(again.contours, finding.contours))


def test_an_image_is_no_sequence(model, phantom):
    for _ in range(2):
        assert "frozen_frame" not in model.segment(phantom, PROMPTS[0])[0].flags


def test_clips(model, phantom, tmp_path):
    frames = np.stack([phantom, phantom, phantom[:, ::-1]])
    found = [findings[0] for findings in model.segment_clip(frames, PROMPTS)]
    assert ["frozen_frame" in finding.flags for finding in found] == [False, True, False]
    path = write_dicom(tmp_path / "clip.dcm", frames, spacing=0.2)
    reader = read_frames(path)
    assert (reader.frame_count, reader.is_still) == (3, False)
    assert reader.uids[2] == "1.2.826.0.1.3680043.8.498.1" and reader.uids[0] == "1.2.826.0.1.3680043.8.498.1001"
    from_file = [findings[0] for findings in model.segment_clip(path, PROMPTS)]
    assert same(from_file, found) and len(from_file) == 3
    assert from_file[0].measurements.area_mm2 == pytest.approx(from_file[0].measurements.area_px * 0.04)
    with pytest.raises(causalclipseg.FileError, match="3 frames; use Model.segment_clip"):
        model.segment(path, PROMPTS)
    smooth = [findings[0] for findings in model.segment_clip(frames, PROMPTS, smoothing=0.9)]
    assert same(smooth[:1], found[:1]) and not same(smooth[2:], found[2:])
    with pytest.raises(OptionError):
        model.segment_clip(frames, PROMPTS, smoothing=1.0)


def test_files_that_are_no_image(model, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("hello\n" * 50)
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.dcm"
    write_dicom(tmp_path / "x.dcm", np.zeros((3, 40, 40), np.uint8))
    cut.write_bytes((tmp_path / "x.dcm").read_bytes()[:-2000])
    with pytest.raises(FileNotFoundError):
        model.segment(tmp_path / "none.png", PROMPTS)
    for path in (text, empty, tmp_path, "a\0b"):
        with pytest.raises(causalclipseg.FileError) as caught:
            model.segment(path, PROMPTS)
        assert "\n" not in str(caught.value)
    with pytest.raises(causalclipseg.FileError):
        list(model.segment_clip(cut, PROMPTS))


def test_batches_are_ordered_and_equal(model, phantom):
    images = [np.roll(phantom, 7 * shift, axis=1) for shift in range(9)]
    expected = [model.segment(image, PROMPTS) for image in images]
    for threads in (1, 3, None):
        found = list(model.segment_batch(iter(images), PROMPTS, threads=threads))
        assert len(found) == 9 and all(same(a, b) for a, b in zip(found, expected))


def test_a_batch_reads_its_images_as_it_goes(model, phantom):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield phantom

    batch = model.segment_batch(endless(), PROMPTS[0], threads=2)
    for _ in range(3):
        next(batch)
    batch.close()
    assert len(taken) <= 3 + 4


def test_errors_in_a_batch(model, phantom, tmp_path):
    images = [phantom, tmp_path / "none.png", phantom]
    with pytest.raises(causalclipseg.MissingFileError):
        list(model.segment_batch(images, PROMPTS[0]))
    found = list(model.segment_batch(images, PROMPTS[0], return_errors=True))
    assert isinstance(found[1], causalclipseg.MissingFileError) and same(found[0], found[2])
    for bad in ({"threads": 0}, {"threads": -1}):
        with pytest.raises(OptionError):
            model.segment_batch(images, PROMPTS, **bad)
    with pytest.raises(TypeError, match="one path"):
        model.segment_batch("scan.png", PROMPTS)
    with pytest.raises(PromptError):
        model.segment_batch(images, [])
