"""The recipe for Spark in docs/archives.md, as it stands there. Run by `.ci/interop spark`; needs pyspark, pandas, pyarrow and Java."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyspark")
image = pytest.importorskip("PIL.Image")

import causalclipseg  # noqa: E402
from causalclipseg import rle  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "archives.md"


def recipe():
    """The page's own code below its heading on Spark."""
    below = PAGE.read_text(encoding="utf-8").split("\n## On Spark\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", below, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def archive(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("archive")
    (folder / "below").mkdir()
    for number in range(30):
        image.fromarray(np.roll(phantom, number, axis=1)).save(folder / "below" / f"{number}.png")
    (folder / "cut.png").write_bytes((folder / "below" / "0.png").read_bytes()[:2000])
    return folder


def test_the_recipe_of_the_page(archive, tmp_path, monkeypatch):
    code = recipe()
    assert code.count('"/data/scans"') == 1 and code.count('.parquet("results")') == 1
    code = code.replace('"/data/scans"', repr(str(archive)))
    monkeypatch.chdir(tmp_path)
    # Two workers, and an address of this machine alone.
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] --conf spark.ui.enabled=false pyspark-shell")
    names = {"__name__": "__main__"}
    try:
        exec(compile(code, str(PAGE), "exec"), names)
        rows = names["spark"].read.parquet(str(tmp_path / "results")).collect()
    finally:
        if "spark" in names:
            names["spark"].stop()
    (prompt,) = names["PROMPTS"]
    by_name = {Path(row.path.replace("file:", "")).name: row for row in rows}
    assert len(rows) == len(by_name) == 31
    assert by_name["cut.png"].error and by_name["cut.png"].area_px is None
    with causalclipseg.Model.open() as model:
        for number in range(30):
            row = by_name[f"{number}.png"]
            (found,) = model.segment(str(archive / "below" / f"{number}.png"), [prompt])
            assert row.error is None and row.prompt == prompt and row.area_px == found.measurements.area_px
            assert row.score == pytest.approx(found.quality.score) and row.flags == list(found.flags)
            assert np.array_equal(rle.decode(row.mask_counts, (row.height, row.width)), found.mask)
