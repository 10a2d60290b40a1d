"""Worker processes on this machine: one Blender each, recycled, replaced when one dies or hangs."""

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

import generation
from generation.jobs.orders import Answer, Order, WorkerSetup
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

_LOG_TAIL_BYTES = 4000


class WorkerDied(Exception):
    """The worker ended in the middle of an order; the message says how, with its last words."""


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

    def note(self, answer: Answer) -> None:
        """Learn from a scene that was made."""
        with self._lock:
            self._slowest = max(self._slowest, answer.seconds)


class Worker(Protocol):
    """Takes one order at a time."""

    def carry_out(self, order: Order, limit_s: float) -> Answer:
        """Raises `WorkerDied` when no answer comes; a worker that gives none within `limit_s` is killed."""

    def close(self) -> None:
        """End it, without waiting for an order at work."""


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
            self._send(setup.model_dump_json())
            answer = self._receive(START_LIMIT_S)
            if answer.kind == "refused":
                raise InputError(answer.error)
            self.version = answer.version
        except (WorkerDied, InputError):
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def carry_out(self, order: Order, limit_s: float) -> Answer:
        """Send an order and wait for the answer.

        Raises:
            WorkerDied: the process ended instead, or gave no answer within `limit_s` seconds and was killed.
        """
        self._send(order.model_dump_json())
        return self._receive(limit_s)

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
        except (BrokenPipeError, ValueError) as error:
            raise WorkerDied(self._last_words()) from error

    def _receive(self, limit_s: float) -> Answer:
        assert self._process.stdout is not None
        expired = threading.Event()

        def kill() -> None:
            expired.set()
            self._process.kill()

        # The end of the process ends the read: a pipe has no time limit of its own on every system.
        timer = threading.Timer(limit_s, kill)
        timer.daemon = True
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        try:
            return Answer.model_validate_json(line)
        except ValidationError as error:
            hung = f"the worker gave no answer for {limit_s:.0f} s and was killed" if expired.is_set() else ""
            raise WorkerDied(self._last_words(hung)) from error

    def _last_words(self, hung: str = "") -> str:
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
        return (hung or f"the worker {how}{hint}") + (f"; its last words:\n{tail}" if tail else "")


class _ignored_pipe:
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, OSError | ValueError)


def work(
    orders: Iterable[Order],
    workers: int,
    start: Callable[[], Worker],
    limit: TimeLimit | None = None,
) -> Generator[Answer, None, None]:
    """Carry out all orders; answers come as they are ready, in no fixed order.

    Each order ends in one 'done' or 'failed' answer. A worker's death is told by a 'died' answer in between;
    its order goes to another worker `RETRIES` times. A 'disk' answer ends everything.

    Args:
        orders: what to make.
        workers: how many work at a time.
        start: makes one worker; raises `WorkerDied` when it does not come up, `InputError` when none can.
        limit: how long a scene may take.
    """
    limit = limit or TimeLimit()
    waiting: queue.SimpleQueue[tuple[Order, int]] = queue.SimpleQueue()
    count = 0
    for order in orders:
        waiting.put((order, 0))
        count += 1
    answers: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()
    team = [_Seat(waiting, answers, start, limit) for _ in range(min(workers, count))]
    try:
        for seat in team:
            seat.thread.start()
        while count:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            count -= answer.kind in ("done", "failed")
            yield answer
            if answer.kind == "disk":
                return
    finally:
        for seat in team:
            seat.dismiss()
        for seat in team:
            if seat.thread.ident is not None:
                seat.thread.join()


class _Seat:
    """A thread that keeps one worker alive and busy until no order is left."""

    def __init__(
        self,
        waiting: "queue.SimpleQueue[tuple[Order, int]]",
        answers: "queue.SimpleQueue[Answer | BaseException]",
        start: Callable[[], Worker],
        limit: TimeLimit,
    ) -> None:
        self._waiting, self._answers, self._start, self._limit = waiting, answers, start, limit
        self._worker: Worker | None = None
        self._dismissed = threading.Event()
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def dismiss(self) -> None:
        """Stop at once: the worker is killed; whatever it had not finished stays undone."""
        self._dismissed.set()
        with self._lock:
            if self._worker is not None:
                self._worker.close()

    def _run(self) -> None:
        done_by_worker = 0
        try:
            while not self._dismissed.is_set():
                # Look before a worker is started for nothing: starting one takes seconds.
                try:
                    order, tries = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if done_by_worker >= SCENES_PER_WORKER:
                    self._let_go()
                    done_by_worker = 0
                worker = self._hire()
                if worker is None:
                    break
                try:
                    answer = worker.carry_out(order, self._limit.seconds)
                    self._limit.note(answer)
                    done_by_worker += 1
                except WorkerDied as death:
                    if self._dismissed.is_set():
                        break
                    self._let_go()
                    done_by_worker = 0
                    answer = self._after_death(order, tries, str(death))
                self._answers.put(answer)
                if answer.kind == "died":
                    # Only now: another worker may be done with it at once, and its answer be the last.
                    self._waiting.put((order, tries + 1))
        except BaseException as error:  # must reach the master's thread, whatever it is
            if not self._dismissed.is_set():
                self._answers.put(error)
        finally:
            self._let_go()

    def _after_death(self, order: Order, tries: int, words: str) -> Answer:
        if tries < RETRIES:
            return Answer(kind="died", scene=order.scene, error=words)
        return Answer(kind="failed", scene=order.scene, error=words.splitlines()[0], log=words)

    def _hire(self) -> Worker | None:
        """The seat's worker, started when there is none; None when the seat was dismissed meanwhile.

        Raises:
            WorkError: workers do not start. No scene is to blame, and the next would fare no better.
        """
        for attempt in range(_STARTS):
            if self._dismissed.is_set():
                return None
            if self._worker is not None:
                return self._worker
            try:
                worker = self._start()
            except WorkerDied as death:
                if attempt + 1 == _STARTS and not self._dismissed.is_set():
                    raise WorkError(f"rendering processes do not start: {death}") from death
                continue
            with self._lock:
                self._worker = worker
            if self._dismissed.is_set():
                self._let_go()
                return None
        return self._worker

    def _let_go(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._worker.close()
            self._worker = None
