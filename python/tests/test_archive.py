"""Archives on a pool of processes: every input once, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import causalclipseg
from causalclipseg import rle

from conftest import PROMPTS, write_dicom

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")
pytest.importorskip("tqdm")

from causalclipseg.archive import inputs, processes, results  # noqa: E402
from causalclipseg.archive.__main__ import main  # noqa: E402
from causalclipseg.archive.segmenter import Segmenter, Settings  # noqa: E402


def read(folder):
    """All rows, sorted by what identifies one."""
    rows = [row for part in sorted(Path(folder).glob("*.parquet")) for row in pq.read_table(part, partitioning=None).to_pylist()]
    return sorted(rows, key=lambda row: (row["input"], row["frame"] or 0, row["prompt_number"]))


def keys(rows):
    return [(row["input"], row["frame"], row["prompt_number"]) for row in rows]


def job(inputs_, output, *options):
    return main([*map(str, inputs_), "-o", str(output), *[part for prompt in PROMPTS for part in ("-p", prompt)], *options])


@pytest.fixture(scope="module")
def archive(tmp_path_factory, phantom):
    """Pictures, a DICOM clip and still, and files that cannot be read, in folders."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("archive")
    (folder / "a").mkdir()
    (folder / "b" / "deep").mkdir(parents=True)
    for number in range(12):
        image.fromarray(np.roll(phantom, 5 * number, axis=1)).save(folder / "a" / f"{number}.png")
    write_dicom(folder / "b" / "deep" / "IM0001", np.stack([phantom, phantom[:, ::-1], phantom]), number=3, spacing=0.1)
    write_dicom(folder / "b" / "IM0002", phantom, number=4)
    png = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "b" / "readme.txt").write_text("no image\n" * 40)
    return folder


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory):
    """The rows of a plain loop in this process."""
    with causalclipseg.Model.open() as model:
        digest = model.sha256
    segmenter = Segmenter(Settings(tuple(PROMPTS), model_sha256=digest))
    rows = [row for row in segmenter.segment(inputs.expand([str(archive)])).to_pylist()]
    return sorted(rows, key=lambda row: (row["input"], row["frame"] or 0, row["prompt_number"]))


def test_one_row_a_frame_and_prompt(archive, expected, model, phantom):
    found = {key: row for key, row in zip(keys(expected), expected)}
    assert len(found) == len(expected) == 2 * (12 + 3 + 1 + 1)
    clip = str(archive / "b" / "deep" / "IM0001")
    row, finding = found[clip, 2, 1], model.segment(phantom[:, ::-1], PROMPTS, mm_per_pixel=0.1)[1]
    assert np.array_equal(rle.decode(row["mask_counts"], (row["height"], row["width"])), finding.mask)
    assert row["instance_uid"] == "1.2.826.0.1.3680043.8.498.3" and row["prompt"] == PROMPTS[1] and row["error"] is None
    assert row["area_px"] == finding.mask.sum() and row["area_mm2"] == pytest.approx(row["area_px"] * 0.01)
    assert row["score"] == finding.quality.score and row["model_sha256"] == model.sha256
    assert found[str(archive / "b" / "IM0002"), None, 0]["timestamp_s"] is None
    # The text file is left out as in the command; the damaged picture has rows.
    bad = found[str(archive / "a" / "cut.png"), None, 0]
    assert bad["error"] and bad["area_px"] is None and "\n" not in bad["error"]
    assert not any("readme" in row["input"] for row in expected)
    # The patient is not in the results.
    assert "Doe" not in json.dumps(expected)


def test_processes_give_the_same_rows(archive, expected, tmp_path):
    for workers in ("1", "2"):
        out = tmp_path / workers
        assert job([archive], out, "--workers", workers) == 0
        assert read(out) == expected


def test_inputs_of_all_kinds(archive, expected, tmp_path, capsys):
    pictures = sorted((archive / "a").glob("?.png"))
    listed = tmp_path / "list.parquet"
    relative = [os.path.relpath(path, tmp_path) for path in pictures[:3]]
    pq.write_table(pa.table({"n": [1, 2, 3, 4], "path": [*relative, None]}), listed)
    named = tmp_path / "named.parquet"
    pq.write_table(pa.table({"image": [pictures[3].as_uri(), str(tmp_path / "gone.png")]}), named)
    assert inputs.expand([str(listed), str(pictures[0])]) == [str(path) for path in pictures[:3]]
    with pytest.raises(causalclipseg.OptionError, match="--column"):
        inputs.expand([str(named)])
    out = tmp_path / "out"
    assert job([listed, named, (archive / "b").as_uri()], out, "--column", "image") == 1
    assert "has no column image" in capsys.readouterr().err
    assert job([named, (archive / "b").as_uri()], out, "--column", "image", "--workers", "1") == 0
    rows = read(out)
    by_name = {row["input"].replace("file://", ""): row for row in rows}
    same = {row["input"]: row for row in expected}
    for name in (str(pictures[3]), str(archive / "b" / "IM0002")):
        assert {**by_name[name], "input": name} == same[name]
    assert "no such file" in by_name[str(tmp_path / "gone.png")]["error"]
    # By their names alone, a folder's files that are no images have rows behind a URL only where their names may be images'.
    assert not any("readme" in name for name in by_name)


def test_memory_as_a_file_system(archive, tmp_path):
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/scans/one.png", (archive / "a" / "0.png").read_bytes())
    assert inputs.expand(["memory://scans"]) == ["memory:///scans/one.png"] or inputs.expand(["memory://scans"]) == ["memory://scans/one.png"]
    name = inputs.expand(["memory://scans"])[0]
    with causalclipseg.Model.open() as model:
        digest = model.sha256
    rows = Segmenter(Settings(tuple(PROMPTS), model_sha256=digest)).rows(name)
    assert len(rows) == 2 and rows[0]["area_px"] > 0
    rows = Segmenter(Settings(tuple(PROMPTS), model_sha256=digest)).rows("nothere://a/b.png")
    assert "cannot be read" in rows[0]["error"]


def test_what_is_done_is_not_done_again(archive, expected, tmp_path, capsys):
    out = tmp_path / "out"
    assert job([archive / "a"], out, "--workers", "1") == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert job([archive], out, "--workers", "1") == 0
    assert "2 inputs were done now" in capsys.readouterr().err
    assert read(out) == expected
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert job([archive], out, "--workers", "1") == 0
    assert "0 inputs were done now" in capsys.readouterr().err and read(out) == expected


def test_errors_are_done_again_on_request(archive, tmp_path, phantom):
    image = pytest.importorskip("PIL.Image")
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    image.fromarray(phantom).save(folder / "good.png")
    (folder / "bad.png").write_bytes((folder / "good.png").read_bytes()[:900])
    assert job([folder], out, "--workers", "1") == 0
    assert sum(row["error"] is not None for row in read(out)) == 2
    image.fromarray(phantom).save(folder / "bad.png")
    assert job([folder], out, "--workers", "1") == 0
    assert sum(row["error"] is not None for row in read(out)) == 2
    assert job([folder], out, "--workers", "1", "--retry-errors") == 0
    rows = read(out)
    assert len(rows) == 4 and all(row["error"] is None for row in rows)


def test_other_settings_are_refused(archive, tmp_path, capsys):
    out = tmp_path / "out"
    pictures = [archive / "a" / "1.png"]
    assert job(pictures, out) == 0
    for options in (("--threshold", "0.3"), ("-p", "another"), ("--seg",), ("--mm-per-pixel", "0.1")):
        assert job(pictures, out, *options) == 1
        assert "another job" in capsys.readouterr().err
    (out / "job.json").unlink()
    assert job(pictures, out) == 1
    assert "without job.json" in capsys.readouterr().err


def test_bad_arguments(archive, tmp_path, capsys):
    picture = str(archive / "a" / "1.png")
    for inputs_, options in (
        ([tmp_path / "none"], ()),
        ([picture], ("--threshold", "2")),
        ([picture], ("-p", "")),
        ([picture], ("-m", str(tmp_path / "none.ccs"))),
        ([picture], ("-m", picture)),
    ):
        assert job(inputs_, tmp_path / "out", *options) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert not list((tmp_path).glob("out/part*"))
    for options in (("--workers", "0"), ("--workers", "two"), ("--mm-per-pixel", "-1")):
        with pytest.raises(SystemExit) as ended:
            job([picture], tmp_path / "out", *options)
        assert ended.value.code == 2
    (tmp_path / "file").write_text("")
    assert job([picture], tmp_path / "file") == 1


def test_one_process_writes_a_folder(archive, tmp_path):
    settings = Settings(tuple(PROMPTS), model_sha256="0")
    with results.Results(str(tmp_path), settings):
        with pytest.raises(causalclipseg.Error, match="another process"):
            results.Results(str(tmp_path), settings)
    results.Results(str(tmp_path), settings).close()


def test_segmentations_of_dicom_files(archive, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    out = tmp_path / "out"
    assert job([archive / "b", archive / "a" / "1.png"], out, "--seg", "--workers", "1") == 0
    rows = read(out)
    for row in rows:
        assert (row["segmentation"] is not None) == ("IM" in row["input"])
    written = {row["input"]: row["segmentation"] for row in rows if row["segmentation"]}
    assert len(list((out / "seg").iterdir())) == len(set(written.values())) == 2
    segmentation = pydicom.dcmread(out / "seg" / written[str(archive / "b" / "IM0002")])
    assert segmentation.Modality == "SEG" and [item.SegmentNumber for item in segmentation.SegmentSequence] == [1, 2]
    row = next(row for row in rows if row["input"].endswith("IM0002") and row["prompt_number"] == 0)
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    size = row["width"] * row["height"]
    mask = rle.decode(row["mask_counts"], (row["height"], row["width"]))
    assert np.array_equal(bits[:size].reshape(mask.shape), mask)


def command(inputs_, output, *options):
    prompts = [part for prompt in PROMPTS for part in ("-p", prompt)]
    return [sys.executable, "-m", "causalclipseg.archive", *map(str, inputs_), "-o", str(output), *prompts, *options]


@pytest.fixture(scope="module")
def many(tmp_path_factory, archive):
    """Enough files for a job of some seconds: hard links to the archive's."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(240):
        os.link(archive / "a" / f"{number % 12}.png", folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def many_expected(many, tmp_path_factory):
    out = tmp_path_factory.mktemp("many-out")
    assert job([many], out, "--workers", "2") == 0
    rows = read(out)
    assert len(rows) == 480 and len(set(keys(rows))) == 480
    return rows


def children(process):
    found = subprocess.run(["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line]


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers with ps")
def test_a_killed_worker_costs_nothing(many, many_expected, tmp_path):
    process = subprocess.Popen(command([many], tmp_path / "out", "--workers", "2"), stderr=subprocess.PIPE)
    killed = 0
    # Up to three, as far as the job lasts.
    while killed < 3:
        wait_for(lambda: children(process) or process.poll() is not None)
        workers = children(process)
        if not workers:
            break
        time.sleep(0.2)
        try:
            os.kill(workers[0], signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0 and killed > 0, error
    assert read(tmp_path / "out") == many_expected


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers with ps")
def test_a_killed_job_goes_on(many, many_expected, tmp_path, monkeypatch):
    """Parts are small here, so that something is done when the job is killed."""
    out = tmp_path / "out"
    small = ["-c", "from causalclipseg.archive import results, __main__ as m; results.ROWS_PER_PART = 20; import sys; sys.exit(m.main(sys.argv[1:]))"]
    killed = 0
    for _ in range(3):
        arguments = command([many], out, "--workers", "2")
        process = subprocess.Popen([arguments[0], *small, *arguments[3:]], stderr=subprocess.PIPE)
        before = len(list(out.glob("part-*")))
        wait_for(lambda: len(list(out.glob("part-*"))) > before + 1 or process.poll() is not None)
        workers = children(process)
        killed += process.poll() is None
        process.kill()
        process.wait()
        # Workers end with their parent.
        wait_for(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers), 20)
    assert killed >= 1 and 0 < len(read(out)) < 480
    assert job([many], out, "--workers", "2") == 0
    assert read(out) == many_expected
    assert not list(out.glob(".part*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_keeps_what_is_done(many, many_expected, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command([many], out, "--workers", "1"), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: children(process))
    time.sleep(2.0)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM and "stopped by SIGTERM" in error and "Traceback" not in error
    rows = read(out)
    assert 0 < len(rows) < 480 and len(set(keys(rows))) == len(rows)
    assert job([many], out, "--workers", "2") == 0
    assert read(out) == many_expected


class _Poison(Segmenter):
    def rows(self, name):
        if "/7.png" in name or name.endswith("/8.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rows(name)


def _begin_with_poison(settings):
    processes.Segmenter = _Poison
    _begin(settings)


_begin = processes._begin


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_files_that_kill_their_process_have_errors(archive, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_begin", _begin_with_poison)
    names = inputs.expand([str(archive)])
    settings = Settings(tuple(PROMPTS), model_sha256=expected[0]["model_sha256"])
    rows, done = [], []
    for finished, found in processes.segment(names, settings, 2):
        done.extend(finished)
        rows.extend(found.to_pylist())
    assert sorted(done) == sorted(names)
    rows.sort(key=lambda row: (row["input"], row["frame"] or 0, row["prompt_number"]))
    assert keys(rows) == keys(expected)
    for row, good in zip(rows, expected):
        if row["input"].endswith(("/7.png", "/8.png")):
            assert "process that segments it dies" in row["error"]
        else:
            assert row == good


def test_a_worker_without_its_model_ends_the_job(archive):
    with pytest.raises(causalclipseg.Error, match="differs from that of the job"):
        list(processes.segment([str(archive / "a" / "1.png")], Settings(tuple(PROMPTS), model_sha256="0"), 1))


def test_a_part_that_is_damaged_is_named(archive, tmp_path, capsys):
    out = tmp_path / "out"
    assert job([archive / "a" / "1.png"], out) == 0
    (out / "part-000001.parquet").write_bytes(b"PAR1")
    assert job([archive / "a" / "1.png"], out) == 1
    assert "delete it" in capsys.readouterr().err
