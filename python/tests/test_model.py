"""Opening, closing, pickling, forking: the life of a model."""

import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import causalclipseg
from causalclipseg import Model

from conftest import PROMPTS, REPOSITORY


def test_the_model_inside_the_package_is_the_shipped_one(model):
    shipped = REPOSITORY / "models" / "tiny.ccs"
    import hashlib

    assert model.sha256 == hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert (model.name, model.path, model.input_size) == ("tiny", None, 160)
    assert 0 < model.threshold < 1
    assert "160 px" in repr(model)


def test_a_path_gives_the_same_results(model, phantom):
    with Model.open(REPOSITORY / "models" / "tiny.ccs") as other:
        a, b = (m.segment(phantom, PROMPTS) for m in (model, other))
    assert all(np.array_equal(x.probability, y.probability) for x, y in zip(a, b))


def test_files_that_are_no_bundle(tmp_path):
    with pytest.raises(causalclipseg.MissingFileError) as caught:
        Model.open(tmp_path / "none.ccs")
    assert isinstance(caught.value, FileNotFoundError) and isinstance(caught.value, causalclipseg.Error)
    text = tmp_path / "text.ccs"
    text.write_text("this is not a model\n" * 100)
    empty = tmp_path / "empty.ccs"
    empty.write_bytes(b"")
    damaged = tmp_path / "damaged.ccs"
    bundle = bytearray((REPOSITORY / "models" / "tiny.ccs").read_bytes())
    bundle[len(bundle) // 2] ^= 1
    damaged.write_bytes(bundle)
    cut = tmp_path / "cut.ccs"
    cut.write_bytes(bundle[: len(bundle) // 2])
    for path in (text, empty, damaged, cut, tmp_path, "a\0b"):
        with pytest.raises(causalclipseg.ModelError) as caught:
            Model.open(path)
        assert "\n" not in str(caught.value)
    for path in (7, b"tiny.ccs"):
        with pytest.raises(TypeError):
            Model.open(path)


def test_options_out_of_range():
    for options in ({"threads": 0}, {"threads": 65}, {"cached_prompts": 0}, {"isa": "mmx"}):
        with pytest.raises(causalclipseg.OptionError):
            Model.open(**options)
    for options in ({"threads": "two"}, {"threads": 1.5}, {"isa": 3}):
        with pytest.raises(TypeError):
            Model.open(**options)


def test_an_instruction_set_that_the_cpu_lacks_is_refused(model, phantom):
    lacking = []
    for isa in ("generic", "avx2", "avx512-vnni", "neon", "dotprod", "i8mm"):
        try:
            with Model.open(isa=isa) as other:
                expected = model.segment(phantom, PROMPTS)[0].mask
                assert np.array_equal(other.segment(phantom, PROMPTS)[0].mask, expected)
        except causalclipseg.CpuError as error:
            assert "this CPU cannot run" in str(error)
            lacking.append(isa)
        except causalclipseg.OptionError:
            # An instruction set of another processor family is not in this build.
            lacking.append(isa)
    # Every CPU of this build's family runs the generic kernels, and none has those of two families.
    assert "generic" not in lacking and lacking


def test_a_closed_model(phantom):
    model = Model.open()
    kept = model.segment(phantom, PROMPTS)[0]
    with model:
        pass
    model.close()
    assert model.closed and "closed" in repr(model)
    calls = [
        lambda: model.segment(phantom, PROMPTS),
        lambda: list(model.segment_batch([phantom], PROMPTS)),
        lambda: list(model.segment_clip([phantom], PROMPTS)),
        lambda: model.encode(PROMPTS),
        lambda: model.name,
        lambda: model.sha256,
        lambda: pickle.dumps(model),
        lambda: model.__enter__(),
    ]
    for call in calls:
        with pytest.raises(causalclipseg.ClosedError):
            call()
    # A result outlives its model.
    assert kept.mask.shape == phantom.shape and kept.contours is not None


def test_closing_while_a_clip_runs_ends_it(phantom):
    model = Model.open()
    clip = model.segment_clip([phantom, phantom], PROMPTS)
    next(clip)
    model.close()
    with pytest.raises(causalclipseg.ClosedError):
        next(clip)


def test_a_pickle_holds_the_path_and_not_the_weights(model, phantom, tmp_path):
    pickled = pickle.dumps(model)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert np.array_equal(again.segment(phantom, PROMPTS)[0].mask, model.segment(phantom, PROMPTS)[0].mask)
    assert copy.copy(again).sha256 == again.sha256
    # Another file at the same place is refused.
    path = tmp_path / "model.ccs"
    path.write_bytes((REPOSITORY / "models" / "tiny.ccs").read_bytes())
    pickled = pickle.dumps(Model.open(path))
    digest = Model.open(path).sha256.encode()
    with pytest.raises(causalclipseg.ModelError, match="another file"):
        pickle.loads(pickled.replace(digest, b"0" * len(digest)))
    path.unlink()
    with pytest.raises(causalclipseg.MissingFileError):
        pickle.loads(pickled)


def test_errors_survive_a_pickle():
    for kind in ("Error", "ModelError", "PromptError", "ImageError", "MissingFileError", "ClosedError"):
        error = getattr(causalclipseg, kind)("what, why")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == "what, why"


def _area(model, image):
    return int(model.segment(image, PROMPTS[:1])[0].mask.sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_opens_its_own_model(phantom, threads):
    model = Model.open(threads=threads)
    expected = _area(model, phantom)
    # Before the fork: its processes have what was there.
    _shared[:] = [model]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        areas = [pool.apply_async(_area_of_global, (phantom,)) for _ in range(4)]
        assert [area.get(timeout=60) for area in areas] == [expected] * 4
    assert _area(model, phantom) == expected


_shared = []


def _area_of_global(image):
    return _area(_shared[0], image)


_FORKED = """
import os, sys, threading, time
import numpy as np
import causalclipseg
model = causalclipseg.Model.open(threads=2)
image = np.tile(np.arange(200, dtype=np.uint8), (150, 1))
stop = False
def work():
    n = 0
    while not stop:
        n += 1
        model.segment(image, [f"a dark nodule {n % 50}"])
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
clip = model.segment_clip([image] * 3, "a dark nodule")
next(clip)
bad = 0
for _ in range(8):
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        try:
            found = model.segment(image, ["a dark nodule"])
            assert found[0].mask.shape == image.shape
            try:
                next(clip)
                os._exit(2)
            except causalclipseg.Error:
                pass
            model.close()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    bad += os.waitpid(child, 0)[1] != 0
stop = True
for thread in threads: thread.join()
sys.exit(bad)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_middle_of_work_does_not_hang():
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKED], timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_spawned_worker_opens_its_own(model, phantom):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_area, (model, phantom)) == _area(model, phantom)


def test_the_lock_is_released_while_the_network_runs(model, phantom):
    """Another thread of Python goes on while an image is segmented."""
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    large = np.tile(phantom, (8, 8))
    begun = time.perf_counter()
    model.segment(large, PROMPTS * 8)
    ended = time.perf_counter()
    stop.set()
    thread.join()
    assert sum(begun < at < ended for at in ticks) > 3


def test_the_package_needs_numpy_alone():
    probe = "import sys, json, causalclipseg, causalclipseg.metrics, causalclipseg.rle; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout)
    for other in ("pyarrow", "PIL", "pandas", "scipy", "tqdm", "fsspec", "ray"):
        assert other not in modules
