"""What long work shows on the screen: a bar on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

#: Called by the library with (done, total, note); the command line turns it into a bar or lines.
Progress = Callable[[int, int, str], None]

#: ``extra`` of a log record below WARNING that a user should see: ``_log.info("…", extra=FOR_USER)``.
FOR_USER = {"for_user": True}

_SECONDS_BETWEEN_LINES = 10.0


def printable(text: str) -> str:
    """Text that holds names and values from files, for a terminal.

    Control characters (which move the cursor, change colours or the window's title), marks that turn the
    direction of writing, and bytes that are no UTF-8 are shown escaped; line ends and tabs stay.
    """
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


class _Messages(logging.Handler):
    """Writes warnings, and records marked ``FOR_USER``, to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        warns = record.levelno >= logging.WARNING
        if warns or getattr(record, "for_user", False):
            text = f"{'warning: ' if warns else ''}{record.getMessage()}"
            # Looked up now: while a bar is shown, what is written there appears above it.
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()


@contextmanager
def package_log(handler: logging.Handler) -> Iterator[None]:
    """While it is open, what the package logs, from INFO on, also goes to a handler."""
    logger = logging.getLogger("objnerf")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def messages_shown(shown: bool = True) -> AbstractContextManager[None]:
    """While it is open, warnings that the package logs and records marked ``FOR_USER`` go to standard error.

    Args:
        shown: False to show nothing, such as in all but one of several processes.
    """
    return package_log(_Messages() if shown else logging.NullHandler())


def no_progress(done: int, total: int, note: str) -> None:
    """Shows nothing; the default of library functions."""


@contextmanager
def no_bar(description: str, unit: str = "it") -> Iterator[Progress]:
    """Like ``progress_bar``, but shows nothing."""
    yield no_progress


@contextmanager
def progress_bar(description: str, unit: str = "it") -> Iterator[Progress]:
    """Yield a ``Progress`` that shows share, rate and time left on standard error.

    Args:
        description: what is being done, such as "rendering".
        unit: the thing counted, such as "scenes".
    """
    if sys.stderr.isatty():
        with _terminal_bar(description, unit) as report:
            yield report
    else:
        with _plain_lines(description, unit) as report:
            yield report


@contextmanager
def _terminal_bar(description: str, unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    start = time.monotonic()
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None, rate="", note="")

        def report(done: int, total: int, note: str) -> None:
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(task, completed=done, total=total, rate=f"{rate:.3g} {unit}/s", note=note)

        yield report


@contextmanager
def _plain_lines(description: str, unit: str) -> Iterator[Progress]:
    start = time.monotonic()
    shown = -_SECONDS_BETWEEN_LINES

    def report(done: int, total: int, note: str) -> None:
        nonlocal shown
        elapsed = time.monotonic() - start
        if elapsed - shown < _SECONDS_BETWEEN_LINES and done != total:
            return
        shown = elapsed
        rate = done / max(elapsed, 1e-9)
        left = f", {format_seconds((total - done) / rate)} left" if done and done < total else ""
        sys.stderr.write(
            f"{description}: {done}/{total} {unit}, {rate:.3g} {unit}/s, "
            f"{format_seconds(elapsed)}{left}{'  ' + note if note else ''}\n"
        )
        sys.stderr.flush()

    yield report


def format_seconds(seconds: float) -> str:
    """A duration for people: ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
