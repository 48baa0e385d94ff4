"""Which files a job has: folders, files, lists in Parquet, URLs."""

import os
from pathlib import PurePosixPath
from typing import Any, Iterator, List, Optional, Sequence

from .. import _runtime
from ..errors import FileError, MissingFileError, OptionError

#: The columns that a list may have its paths in, in this order.
COLUMNS = ("path", "input", "url", "file")

#: In a folder behind a URL files are known by their names alone; DICOM files often have no ending, or their UID's last number.
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".ima", ".mha", ".mhd", ".nrrd", ".nhdr", ".nii", ".gz"}


def is_url(name: str) -> bool:
    """Whether fsspec has to open it. Windows' drive letters are no protocols."""
    protocol, separator, _ = name.partition("://")
    return bool(separator) and len(protocol) > 1


def expand(inputs: Sequence[str], column: Optional[str] = None) -> List[str]:
    """The files of all inputs, each once: absolute paths and URLs.

    A folder stands for all images below it, and a ``.parquet`` file for the paths and URLs in its column; relative paths there are
    relative to the list's folder.

    Raises
    ------
    MissingFileError, FileError: an input is missing or cannot be listed. A file in a folder or a list may be bad: its rows say so.
    """
    files: List[str] = []
    for name in inputs:
        files.extend(_listed(name, column))
    return list(dict.fromkeys(files))


def _listed(name: str, column: Optional[str]) -> Iterator[str]:
    if name.lower().endswith(".parquet") and not os.path.isdir(name):
        yield from _of_list(name, column)
    elif is_url(name):
        yield from _of_url(name)
    elif os.path.isdir(name):
        yield from (os.path.abspath(path) for path in _runtime.list_files(name))
    elif os.path.exists(name):
        yield os.path.abspath(name)
    else:
        raise MissingFileError(f"{name}: there is no such file or folder; check the path")


def _of_url(name: str) -> Iterator[str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(name)
        # A web server has no folders; what is not there becomes a row with an error.
        if name.startswith(("http://", "https://")) or not system.isdir(path):
            yield name
            return
        found = sorted(system.find(path))
    except (OSError, ValueError, ImportError) as error:
        raise FileError(f"{name}: cannot be listed ({_one_line(error)}); check the URL, and that its fsspec package is installed") from error
    for file in found:
        kept = PurePosixPath(file)
        below = PurePosixPath(os.path.relpath(file, path)).parts
        ending = kept.suffix.lower()
        if not any(part.startswith(".") for part in below) and (ending in _ENDINGS or ending[1:].isdigit() or not ending):
            yield system.unstrip_protocol(file)


def _of_list(name: str, column: Optional[str]) -> Iterator[str]:
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(name, "rb") as file:
            listed = pq.ParquetFile(file)
            names = listed.schema_arrow.names
            wanted = [column] if column else [known for known in COLUMNS if known in names]
            if not wanted or wanted[0] not in names:
                looked = column or ", ".join(COLUMNS)
                raise OptionError(f"{name}: has no column {looked}, but {', '.join(names)}; name the column with --column")
            values = listed.read(columns=wanted[:1]).column(0).to_pylist()
    except FileNotFoundError as error:
        raise MissingFileError(f"{name}: there is no such list; check the path") from error
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{name}: cannot be read as Parquet ({_one_line(error)}); check the file") from error
    folder = os.path.dirname(os.path.abspath(name))
    for value in values:
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise OptionError(f"{name}: column {wanted[0]} holds {type(value).__name__} and not text; name the column with --column")
        yield value if is_url(value) or is_url(name) else os.path.abspath(os.path.join(folder, value))


def content(name: str) -> Optional[bytes]:
    """The bytes of a URL; None for a path, which the runtime reads itself.

    Raises
    ------
    MissingFileError, FileError
    """
    if not is_url(name):
        return None
    import fsspec

    try:
        with fsspec.open(name, "rb") as file:
            data: Any = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingFileError(f"{name}: there is no such file; check the URL") from error
    except Exception as error:  # Every file system has errors of its own.
        raise FileError(f"{name}: cannot be read ({_one_line(error)}); check the URL and the permissions") from error
    if len(data) > _MOST_BYTES:
        raise FileError(f"{name}: has more than {_MOST_BYTES >> 20} MiB; copy it and give its path")
    return bytes(data)


#: The longest file behind a URL; it is held in memory.
_MOST_BYTES = 1 << 30


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
