"""The same work on Ray Data: a pool of actors, on this machine or on a cluster."""

from typing import Any, Dict, Generator, Iterator, List, Sequence, Set, Tuple

import pyarrow as pa

from ..errors import Error, OptionError
from .rows import error_rows, table
from .segmenter import Segmenter, Settings

#: Files an actor is given at once.
BATCH = 8
#: How often Ray runs a task again whose actor died.
TRIES = 4


class _Actor:
    def __init__(self, settings: Settings) -> None:
        self._segmenter = Segmenter(settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self._segmenter.segment(batch.column("name").to_pylist())


def connect(address: str, workers: int) -> Any:
    """Ray itself, connected to a cluster, or to a new one on this machine where the address is ``local``."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise OptionError("Ray is not installed: pip install 'causalclipseg[ray]', or leave --ray out") from error
    if not ray.is_initialized():
        try:
            options: Dict[str, Any] = {"num_cpus": workers} if address == "local" else {}
            ray.init(address=address, log_to_driver=False, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Error(f"cannot connect to Ray at {address} ({' '.join(str(error).split())}); check that it runs") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def segment(
    names: Sequence[str], settings: Settings, workers: int, address: str
) -> Generator[Tuple[List[str], pa.Table], None, None]:
    """The rows of all files, as some files are done: the files, and all of their rows.

    Ray gives a task whose actor died to another one. Files of tasks that died again and again are run alone after the others, and
    those that still have no rows then get rows with an error.
    """
    ray = connect(address, workers)
    missing = list(dict.fromkeys(names))
    for batch in (BATCH, 1):
        if not missing:
            return
        seen: Set[str] = set()
        for rows in _run(ray, missing, settings, workers, batch):
            done = [name for name in dict.fromkeys(rows.column("input").to_pylist()) if name not in seen]
            seen.update(done)
            yield done, rows
        missing = [name for name in missing if name not in seen]
    for name in missing:
        message = f"{name}: the process that segments it dies; see whether its memory suffices"
        yield [name], table(error_rows(name, None, settings.prompts, message, settings.model_sha256))


def _run(ray: Any, names: List[str], settings: Settings, workers: int, batch: int) -> Iterator[pa.Table]:
    # A task that failed for good is left out, and not the end of the job.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    blocks = (len(names) + batch - 1) // batch
    # Not from_arrow, which starts a task on the cluster for each block before the first file is read.
    dataset = ray.data.from_items([{"name": name} for name in names], override_num_blocks=blocks)
    found = dataset.map_batches(
        _Actor,
        fn_constructor_args=(settings,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        max_restarts=-1,
        # Without a limit, a file that ends its process would be tried for ever.
        max_task_retries=TRIES,
    )
    for rows in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        if rows.num_rows:
            yield rows
