"""The output folder: part files that are complete or absent, and what they already hold."""

import json
import os
import re
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, Dict, List, Optional, Set, Type

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import Error, FileError, OptionError
from .rows import SCHEMA
from .segmenter import Settings

#: A part is written after this many rows, or this long after its first one: what a crash can cost.
ROWS_PER_PART = 4096
SECONDS_PER_PART = 30.0

_PART = re.compile(r"part-(\d{6})\.parquet")
_JOB = "job.json"
_LOCK = ".lock"


class Results:
    """An output folder. One process writes it, and holds a lock on it for as long.

    All rows of an input are in one part, and a part appears by being renamed, so an input is either done or not.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        self.folder = folder
        try:
            os.makedirs(folder, exist_ok=True)
            self._lock = _locked(os.path.join(folder, _LOCK))
        except OSError as error:
            raise FileError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
        try:
            self._keep_settings(settings)
            for name in os.listdir(folder):
                if name.startswith(".part-"):
                    # Of a process that was killed while it wrote.
                    os.unlink(os.path.join(folder, name))
        except BaseException:
            self._lock.close()
            raise
        self._parts = self._listed()
        self._tables: List[pa.Table] = []
        self._rows = 0
        self._begun = 0.0

    def _keep_settings(self, settings: Settings) -> None:
        path = os.path.join(self.folder, _JOB)
        now = {**asdict(settings), "columns": SCHEMA.names}
        now = json.loads(json.dumps(now))
        # Where the same bundle lies is of no matter.
        now.pop("model")
        now["segmentations"] = settings.segmentations is not None
        if os.path.exists(path):
            try:
                with open(path, encoding="utf-8") as file:
                    before = json.load(file)
            except ValueError as error:
                raise FileError(f"{path}: is damaged ({error}); choose another folder") from error
            other = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
            if other:
                raise OptionError(
                    f"{self.folder}: holds results of another job, with another {', '.join(other)}; choose another folder, or repeat its settings"
                )
            return
        if self._listed():
            raise OptionError(f"{self.folder}: holds Parquet files without {_JOB}; choose another folder")
        temporary = os.path.join(self.folder, f".part-{_JOB}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(now, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def _listed(self) -> List[str]:
        return sorted(name for name in os.listdir(self.folder) if _PART.fullmatch(name))

    def done(self) -> Set[str]:
        """The inputs whose rows are all there."""
        names: Set[str] = set()
        for part in self._parts:
            names.update(self._read(part, ["input"]).column("input").unique().to_pylist())
        return names

    def forget_errors(self) -> int:
        """Removes the rows of every input that has an error, so that it is done again. The number of such inputs."""
        forgotten: Set[str] = set()
        for part in list(self._parts):
            whole = self._read(part, None)
            failed = whole.filter(pc.is_valid(whole.column("error"))).column("input").unique()
            if len(failed) == 0:
                continue
            forgotten.update(failed.to_pylist())
            kept = whole.filter(pc.invert(pc.is_in(whole.column("input"), value_set=failed)))
            if kept.num_rows:
                self._write(part, kept)
            else:
                os.unlink(os.path.join(self.folder, part))
                self._parts.remove(part)
        return len(forgotten)

    def _read(self, part: str, columns: Optional[List[str]]) -> pa.Table:
        path = os.path.join(self.folder, part)
        try:
            return pq.read_table(path, columns=columns, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise FileError(f"{path}: cannot be read ({error}); delete it, and its inputs are done again") from error

    def add(self, rows: pa.Table) -> None:
        """Takes all rows of some inputs."""
        if not self._tables:
            self._begun = time.monotonic()
        self._tables.append(rows)
        self._rows += rows.num_rows
        if self._rows >= ROWS_PER_PART or time.monotonic() - self._begun >= SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Writes what was taken."""
        if not self._tables:
            return
        last = _PART.fullmatch(self._parts[-1]) if self._parts else None
        name = f"part-{int(last.group(1)) + 1 if last else 1:06d}.parquet"
        self._write(name, pa.concat_tables(self._tables))
        self._parts.append(name)
        self._tables, self._rows = [], 0

    def _write(self, name: str, rows: pa.Table) -> None:
        temporary, path = os.path.join(self.folder, f".{name}"), os.path.join(self.folder, name)
        try:
            with open(temporary, "wb") as file:
                pq.write_table(rows, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise FileError(f"{path}: cannot be written ({error.strerror or error}); free some space and repeat the command") from error

    def counts(self) -> Dict[str, int]:
        """Inputs, rows, and inputs with an error, of all parts."""
        inputs: Set[Any] = set()
        failed: Set[Any] = set()
        rows = 0
        for part in self._parts:
            read = self._read(part, ["input", "error"])
            rows += read.num_rows
            inputs.update(read.column("input").unique().to_pylist())
            failed.update(read.filter(pc.is_valid(read.column("error"))).column("input").unique().to_pylist())
        return {"inputs": len(inputs), "rows": rows, "failed": len(failed)}

    def close(self) -> None:
        """Frees the folder for another process. What was not flushed is lost."""
        self._lock.close()

    def __enter__(self) -> "Results":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            # What is complete is kept, whatever ended the job.
            self.flush()
        finally:
            self.close()


def _locked(path: str) -> Any:
    file = open(path, "a")
    try:
        import fcntl
    except ImportError:
        # Windows keeps others from an open file only where both ask for it.
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Error(f"{os.path.dirname(path)}: another process writes to this folder; wait for it, or choose another folder") from None
    return file
