"""The same values as the tests of converter/src/evaluate/metric."""

import numpy as np
import pytest

from causalclipseg import metrics, rle


def block(x, y, width, height):
    mask = np.zeros((30, 40), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def measured(found, truth):
    return [metrics.dice(found, truth), metrics.iou(found, truth), metrics.nsd(found, truth, 2.0), metrics.hd95(found, truth)]


TRUTH = block(5, 5, 10, 10)


@pytest.mark.parametrize(
    "found, expected",
    [
        (TRUTH, [1.0, 1.0, 1.0, 0.0]),
        (block(7, 5, 10, 10), [0.8, 80 / 120, 1.0, 2.0]),
        (block(9, 5, 10, 10), [0.6, 60 / 140, 20 / 36, 4.0]),
        (block(25, 5, 10, 10), [0.0, 0.0, 0.0, 20.0]),
    ],
)
def test_masks_made_by_hand(found, expected):
    assert measured(found, TRUTH) == pytest.approx(expected, abs=1e-12)


def test_the_further_rim_decides():
    wide = block(5, 5, 30, 10)
    assert (metrics.hd95(wide, TRUTH), metrics.hd95(TRUTH, wide)) == (20.0, 20.0)


def test_both_empty_agree_and_one_empty_does_not():
    empty, lesion = block(0, 0, 0, 0), block(5, 5, 3, 3)
    assert measured(empty, empty) == [1.0, 1.0, 1.0, 0.0]
    # 40 x 30 pixels have a diagonal of 50.
    assert measured(empty, lesion) == measured(lesion, empty) == [0.0, 0.0, 0.0, 50.0]


def test_distances_are_interpolated_between_ranks():
    found, truth = np.zeros((2, 5), bool), np.zeros((2, 5), bool)
    found[0, 0] = truth[0, 3] = truth[1, 4] = True
    # 3 and the root of 17, at 95 % of the way.
    assert metrics.hd95(found, truth) == pytest.approx(3 + 0.95 * (17**0.5 - 3))


def test_large_masks_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(1)
    found, truth = (rng.random((60, 70)) > 0.7 for _ in range(2))
    expected = measured(found, truth)
    monkeypatch.setattr(metrics, "_CHUNK", 1000)
    assert measured(found, truth) == expected


def test_masks_of_integers(model, phantom):
    mask = model.segment(phantom, "a dark nodule")[0].mask
    assert metrics.dice(mask, mask.astype(np.uint8) * 255) == 1.0
    assert metrics.dice(mask.astype(np.int64), mask) == 1.0


def test_what_is_no_mask():
    with pytest.raises(TypeError):
        metrics.dice(TRUTH.astype(float), TRUTH)
    for bad in (TRUTH[:-1], TRUTH.ravel(), TRUTH[None]):
        with pytest.raises(ValueError):
            metrics.iou(bad, TRUTH)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 9), (9, 1), (0, 4)])
def test_run_lengths(shape):
    rng = np.random.default_rng(2)
    for _ in range(20):
        mask = rng.random(shape) > 0.5
        counts = rle.encode(mask)
        assert np.array_equal(rle.decode(counts, shape), mask)
    assert rle.encode(np.array([[1, 0], [1, 1]])) == [0, 2, 1, 1]


def test_run_lengths_that_do_not_fit():
    for counts, shape in (([3], (2, 2)), ([-1, 5], (2, 2)), ([5], (2, 2))):
        with pytest.raises(ValueError):
            rle.decode(counts, shape)
