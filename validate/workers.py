"""Spread pieces of work over processes, with bounded look-ahead."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from objnerf.errors import WorkError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers:
    """A pool of processes; with one worker everything happens in this process.

    Processes are spawned, not forked: the caller may have threads (torch, a notebook), and forking those
    can hang. A script that wants more than one must call under ``if __name__ == "__main__"``.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        if self.count > 1:
            self._pool = ProcessPoolExecutor(self.count, mp_context=get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in the order of the tasks; neither pile up.

        Raises:
            WorkError: a process died.
        """
        if self._pool is None:
            yield from map(function, tasks)
            return
        waiting: list[Future[Result]] = []
        try:
            for task in tasks:
                waiting.append(self._pool.submit(function, task))
                if len(waiting) >= 4 * self.count:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkError(
                "a process that reads files died (killed for memory?); run again with --workers 1"
            ) from error
