"""An archive on Ray Data with two actors, one of which is killed in mid-run. Run by `.ci/interop ray`; needs ray[data]."""

import os
import signal
import subprocess

import numpy as np
import pytest

ray = pytest.importorskip("ray")
image = pytest.importorskip("PIL.Image")

from causalclipseg.archive import inputs, on_ray, processes  # noqa: E402
from causalclipseg.archive.segmenter import Settings  # noqa: E402

from conftest import PROMPTS  # noqa: E402
from test_archive import command, keys, read  # noqa: E402


@pytest.fixture(scope="module")
def archive(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("archive")
    for number in range(120):
        image.fromarray(np.roll(phantom, number, axis=1)).save(folder / f"{number}.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def settings(model):
    return Settings(tuple(PROMPTS), model_sha256=model.sha256)


@pytest.fixture(scope="module")
def expected(archive, settings):
    rows = [row for _, found in processes.segment(inputs.expand([str(archive)]), settings, 2) for row in found.to_pylist()]
    return sorted(rows, key=lambda row: (row["input"], row["frame"] or 0, row["prompt_number"]))


def actors():
    found = subprocess.run(["ps", "-eww", "-o", "pid=", "-o", "args="], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "ray::MapWorker" in line or "ray::_MapWorker" in line]


def test_a_killed_actor_costs_nothing(archive, settings, expected):
    names = inputs.expand([str(archive)])
    done, rows, killed = [], [], 0
    for finished, found in on_ray.segment(names, settings, 2, "local"):
        done.extend(finished)
        rows.extend(found.to_pylist())
        if killed < 1 and len(done) > 20:
            for actor in actors()[:1]:
                os.kill(actor, signal.SIGKILL)
                killed += 1
    assert killed == 1
    assert sorted(done) == sorted(names)
    rows.sort(key=lambda row: (row["input"], row["frame"] or 0, row["prompt_number"]))
    assert keys(rows) == keys(expected) and rows == expected


def test_the_command_gives_the_same_rows(archive, expected, tmp_path):
    ended = subprocess.run(command([archive], tmp_path / "out", "--ray", "--workers", "2"), capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert read(tmp_path / "out") == expected
    ended = subprocess.run(command([archive], tmp_path / "out", "--ray", "--workers", "2"), capture_output=True, text=True, timeout=900)
    assert "0 inputs were done now" in ended.stderr
