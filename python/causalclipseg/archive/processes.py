"""A pool of processes, each with a model of its own. A process that dies costs nothing but time."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Deque, Dict, Generator, List, Optional, Sequence, Tuple

import pyarrow as pa

from ..errors import Error
from .rows import error_rows, table
from .segmenter import Segmenter, Settings

#: Files a worker is given at once.
BATCH = 4
#: How often a file may be at work, alone, in a process that dies, before it is taken for the reason.
TRIES = 3

_segmenter: Optional[Segmenter] = None
_refused: Optional[Error] = None


def _begin(settings: Settings) -> None:
    """Makes a worker's model, and ends the worker with its parent: a killed parent cannot say so."""
    global _segmenter, _refused
    # The parent is told to stop, and tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        _segmenter = Segmenter(settings)
    except Error as error:
        # An initializer that raises would break the pool and hide why.
        _refused = error


def _work(names: Sequence[str]) -> pa.Table:
    if _segmenter is None:
        raise _refused or Error("the worker has no model")
    return _segmenter.segment(names)


class _Worker:
    """One process, and what it has been given. A pool of one: where it breaks, no other work is lost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.given: Dict["Future[pa.Table]", List[str]] = {}
        #: Whether it has a file that was with a process when that died, and nothing else.
        self.alone = False
        #: Starts in a row after which the process ended before it was ready.
        self.failed_starts = -1
        self.restart()

    def restart(self) -> None:
        self.failed_starts += 1
        self.given.clear()
        self.alone = False
        # Not forked: a fork takes locks along that its parent's threads hold.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self._settings,))
        # Without a file: tells an end at the start from one that a file is the reason of.
        self.given[self._pool.submit(_work, [])] = []

    def give(self, names: List[str]) -> None:
        try:
            self.given[self._pool.submit(_work, names)] = names
        except BrokenProcessPool:
            # It died while it had nothing to do.
            self._pool.shutdown(wait=False)
            self.restart()
            self.given[self._pool.submit(_work, names)] = names

    def files(self) -> List[str]:
        return [name for names in self.given.values() for name in names]

    def end(self) -> None:
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def segment(names: Sequence[str], settings: Settings, workers: int) -> Generator[Tuple[List[str], pa.Table], None, None]:
    """The rows of all files, as some files are done: the files, and all of their rows.

    Files that are with a process when it dies (its memory runs out, it is killed) are given to another, one at a time. One that is
    alone with a process at :data:`TRIES` deaths has rows with an error.
    """
    waiting: Deque[str] = deque(names)
    suspects: Deque[str] = deque()
    deaths: Dict[str, int] = {}
    pool = [_Worker(settings) for _ in range(min(workers, len(names)))]
    try:
        while waiting or suspects or any(worker.files() for worker in pool):
            for worker in pool:
                _fill(worker, waiting, suspects)
            futures = {future: worker for worker in pool for future in worker.given}
            finished, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in finished:
                worker = futures[future]
                if future not in worker.given:
                    # It was dealt with together with its worker's death.
                    continue
                try:
                    rows = future.result()
                except BrokenProcessPool as error:
                    yield from _died(worker, suspects, deaths, settings, error)
                    continue
                worker.failed_starts = 0
                done = worker.given.pop(future)
                if done:
                    yield done, rows
    finally:
        for worker in pool:
            worker.end()


def _died(
    worker: _Worker, suspects: Deque[str], deaths: Dict[str, int], settings: Settings, error: BrokenProcessPool
) -> Generator[Tuple[List[str], pa.Table], None, None]:
    """Puts a dead process's files among the suspects, or gives them up, and starts another process."""
    was_starting = [] in worker.given.values()
    for name in worker.files():
        deaths[name] = deaths.get(name, 0) + (worker.alone and not was_starting)
        if deaths[name] < TRIES:
            suspects.append(name)
        else:
            message = f"{name}: the process that segments it dies; see whether its memory suffices"
            yield [name], table(error_rows(name, None, settings.prompts, message, settings.model_sha256))
    if was_starting and worker.failed_starts >= TRIES:
        raise Error("a worker process ends before it is ready, again and again; use fewer workers, and see whether their memory suffices") from error
    worker.restart()
    if not was_starting:
        worker.failed_starts = 0


def _fill(worker: _Worker, waiting: Deque[str], suspects: Deque[str]) -> None:
    """Gives a worker what it can take: two batches, so that it never waits, or one suspect and nothing else."""
    if worker.alone and worker.files():
        return
    worker.alone = False
    if suspects:
        if not worker.files():
            worker.give([suspects.popleft()])
            worker.alone = True
        return
    while waiting and sum(1 for given in worker.given.values() if given) < 2:
        worker.give([waiting.popleft() for _ in range(min(BATCH, len(waiting)))])
