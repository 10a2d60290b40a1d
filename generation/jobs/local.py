"""Worker processes on this machine: one Blender each, recycled, replaced when one dies or hangs."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

import generation
from generation.jobs.tasks import Result, Task, WorkerSetup
from generation.plan.request import GenerationRequest
from objnerf.errors import InputError, WorkError

#: Blender's memory creeps; a fresh process after this many scenes keeps it flat.
SCENES_PER_WORKER = 100

#: A scene that its worker did not survive is given to this many further ones.
RETRIES = 1

#: Starts that may fail in a row, before it is clear that none will succeed.
_STARTS = 3

#: A worker that is silent for so long after its start hangs: Blender loads in seconds, assets in minutes.
START_LIMIT_S = 900.0

#: No scene counts as hanging before so many seconds.
LEAST_LIMIT_S = 600.0

#: A scene hangs when it takes so many times as long as the slowest one that was made.
_LIMIT_FACTOR = 30.0

#: Seconds that a sample of one pixel may take at first: some 30 times those of benchmarks/README.md.
_SLOW_SAMPLE_S = 2e-5

#: Time for a worker that hangs to say where.
_LAST_WORDS_S = 1.0

_LOG_TAIL_BYTES = 4000


class WorkerDied(Exception):
    """The worker ended in the middle of a task; the message says how, with its last output."""


class NoPlace(Exception):
    """There is no place for another worker now, as on a cluster whose cores are all taken."""


class TimeLimit:
    """How long a scene may take before its worker counts as hanging; shared by all workers of a run.

    From the first scene that was made on, a multiple of the slowest; until then, a generous estimate.
    """

    def __init__(self, request: GenerationRequest | None = None) -> None:
        """`request` is the scenes' own; None where it is not known."""
        self._seconds = LEAST_LIMIT_S * (1.0 if request else 10.0)
        if request is not None:
            pictures = request.views * (4 if request.manipulations else 1)
            samples = request.samples * (1 + request.preset.render.surface_samples)
            self._seconds += _SLOW_SAMPLE_S * request.width * request.height * samples * pictures
        self._slowest = 0.0
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """The limit for the next scene."""
        with self._lock:
            if not self._slowest:
                return self._seconds
            return max(LEAST_LIMIT_S, _LIMIT_FACTOR * self._slowest)

    def note(self, result: Result) -> None:
        """Learn from a scene that was made."""
        with self._lock:
            self._slowest = max(self._slowest, result.seconds)


class Worker(Protocol):
    """Takes one task at a time."""

    def run(self, task: Task, limit_s: float) -> Result:
        """Raises `WorkerDied` when no result comes; a worker that gives none within `limit_s` is killed."""

    def close(self) -> None:
        """End it, without waiting for a running task."""


class LocalWorker:
    """A worker process on this machine, started when it is made."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Start a process and wait until it is ready.

        Raises:
            InputError: no worker of this setup can start, as with a device that is not there.
            WorkerDied: the process ended instead, or hangs.
        """
        self._log = tempfile.TemporaryFile(prefix="objnerf-worker-")  # noqa: SIM115  (lives as long as we)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        parent = str(Path(generation.__file__).resolve().parents[1])
        search_path = os.pathsep.join(filter(None, (parent, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "generation.render.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **threads, "PYTHONPATH": search_path},
            text=True,
            encoding="utf-8",
        )
        try:
            result = self._ask(setup.model_dump_json(), START_LIMIT_S)
            if result.kind == "refused":
                raise InputError(result.error)
            self.version = result.version
        except (WorkerDied, InputError):
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, task: Task, limit_s: float) -> Result:
        """Send a task and wait for the result.

        Raises:
            WorkerDied: the process ended, or gave no result within `limit_s` seconds and was killed.
        """
        return self._ask(task.model_dump_json(), limit_s)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What was not sent yet has no reader any more.
                with _ignored_pipe():
                    stream.close()
        self._log.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except ValueError as error:  # it is closed
            raise BrokenPipeError from error

    def _ask(self, line: str, limit_s: float) -> Result:
        """Send a line and wait for the result; both end with the process, which is killed after `limit_s`."""
        assert self._process.stdout is not None
        expired, answered = threading.Event(), threading.Event()

        def kill() -> None:
            expired.set()
            # It prints where it is, if it still can.
            if hasattr(signal, "SIGUSR1"):
                self._process.send_signal(signal.SIGUSR1)
                if answered.wait(_LAST_WORDS_S):
                    return
            self._process.kill()

        # The end of the process ends the read, and a write that fills the pipe: pipes have no time limit of
        # their own on every system.
        timer = threading.Timer(limit_s, kill)
        timer.daemon = True
        timer.start()
        try:
            self._send(line)
            answer = self._process.stdout.readline()
            result = Result.model_validate_json(answer)
            answered.set()
            return result
        except (BrokenPipeError, ValidationError) as error:
            hung = f"the worker gave no result for {limit_s:.0f} s and was killed" if expired.is_set() else ""
            raise WorkerDied(self._exit_report(hung)) from error
        finally:
            timer.cancel()

    def _exit_report(self, hung: str = "") -> str:
        """How the process ended (`hung`, where that is why), with the end of what it printed."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = " (out of memory?)" if status == -9 else ""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - _LOG_TAIL_BYTES))
        tail = self._log.read().decode(errors="replace").strip()
        return (hung or f"the worker {how}{hint}") + (f"; its last output:\n{tail}" if tail else "")


class _ignored_pipe:
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, OSError | ValueError)


def run_tasks(
    tasks: Iterable[Task],
    workers: int,
    start: Callable[[], Worker],
    limit: TimeLimit | None = None,
) -> Generator[Result, None, None]:
    """Run all tasks; results come as they are ready, in no fixed order.

    Each task ends in one 'done' or 'failed' result. A worker that dies gives a 'died' result first;
    its task goes to another worker `RETRIES` times. A 'disk' result ends everything.

    Args:
        tasks: what to make.
        workers: how many work at a time.
        start: makes one worker; raises `WorkerDied` when it does not come up, `InputError` when none can,
            `NoPlace` when there is none at the moment: as long as other workers live, that is no error.
        limit: how long a scene may take.
    """
    limit = limit or TimeLimit()
    waiting: queue.SimpleQueue[tuple[Task, int]] = queue.SimpleQueue()
    count = 0
    for task in tasks:
        waiting.put((task, 0))
        count += 1
    results: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
    slots: list[_WorkerSlot] = []
    slots += [_WorkerSlot(waiting, results, start, limit, slots) for _ in range(min(workers, count))]
    try:
        for slot in slots:
            slot.thread.start()
        while count:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            count -= result.kind in ("done", "failed")
            yield result
            if result.kind == "disk":
                return
    finally:
        for slot in slots:
            slot.stop()
        for slot in slots:
            if slot.thread.ident is not None:
                slot.thread.join()


class _WorkerSlot:
    """A thread that keeps one worker alive and busy until no task is left; `slots` are all of a run."""

    def __init__(
        self,
        waiting: "queue.SimpleQueue[tuple[Task, int]]",
        results: "queue.SimpleQueue[Result | BaseException]",
        start: Callable[[], Worker],
        limit: TimeLimit,
        slots: "list[_WorkerSlot]",
    ) -> None:
        self._waiting, self._results, self._start, self._limit = waiting, results, start, limit
        self._slots = slots
        self._worker: Worker | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    @property
    def has_worker(self) -> bool:
        """Whether its worker has been started and not yet closed."""
        return self._worker is not None

    def stop(self) -> None:
        """Stop at once: the worker is killed; whatever it had not finished stays undone."""
        self._stopped.set()
        with self._lock:
            if self._worker is not None:
                self._worker.close()

    def _run(self) -> None:
        done_by_worker = 0
        try:
            while not self._stopped.is_set():
                # Look before a worker is started for nothing: starting one takes seconds.
                try:
                    task, tries = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if done_by_worker >= SCENES_PER_WORKER:
                    self._close_worker()
                    done_by_worker = 0
                try:
                    worker = self._ready_worker()
                except NoPlace as full:
                    if not any(slot.has_worker for slot in self._slots):
                        raise InputError(str(full)) from full
                    # Somebody else may come to it; a place is looked for again, should it still be there.
                    self._waiting.put((task, tries))
                    continue
                if worker is None:
                    break
                try:
                    result = worker.run(task, self._limit.seconds)
                    self._limit.note(result)
                    done_by_worker += 1
                except WorkerDied as death:
                    if self._stopped.is_set():
                        break
                    self._close_worker()
                    done_by_worker = 0
                    result = self._after_death(task, tries, str(death))
                self._results.put(result)
                if result.kind == "died":
                    # Only now: another worker may be done with it at once, and its result be the last.
                    self._waiting.put((task, tries + 1))
        except BaseException as error:  # must reach the main thread, whatever it is
            if not self._stopped.is_set():
                self._results.put(error)
        finally:
            self._close_worker()

    def _after_death(self, task: Task, tries: int, words: str) -> Result:
        if tries < RETRIES:
            return Result(kind="died", scene=task.scene, error=words)
        return Result(kind="failed", scene=task.scene, error=words.splitlines()[0], log=words)

    def _ready_worker(self) -> Worker | None:
        """The slot's worker, started when there is none; None when the slot was stopped meanwhile.

        Raises:
            WorkError: workers do not start. No scene is to blame, and the next would fare no better.
        """
        for attempt in range(_STARTS):
            if self._stopped.is_set():
                return None
            if self._worker is not None:
                return self._worker
            try:
                worker = self._start()
            except WorkerDied as death:
                if attempt + 1 == _STARTS and not self._stopped.is_set():
                    raise WorkError(f"rendering processes do not start: {death}") from death
                continue
            with self._lock:
                self._worker = worker
            if self._stopped.is_set():
                self._close_worker()
                return None
        return self._worker

    def _close_worker(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.close()
            self._worker = None
