"""What the ``validate`` verb does around ``run``: reports, the mended copy, and the exit status."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from objnerf.console import progress_bar
from objnerf.errors import InputError
from validate.report.json import render_json, write_json
from validate.runner import run


def command(
    dataset: Path,
    json_file: Path | None = None,
    html_file: Path | None = None,
    *,
    strict: bool = False,
    fix: Path | None = None,
    limits: tuple[str, ...] = (),
    workers: int | None = None,
    **options: Any,
) -> int:
    """Validate, print the report, write the files asked for; the exit status.

    Raises:
        InputError: the dataset or an option cannot be used.
        WorkError: a report or the mended copy cannot be written.
    """
    arguments = {
        **options,
        "limits": _limits(limits),
        "workers": workers or _cores(),
    }
    with progress_bar("reading", "views") as progress:
        report = run(dataset, progress=progress, fix=fix, **arguments)
    to_stdout = json_file is not None and str(json_file) == "-"
    if to_stdout:
        click.echo(render_json(report), nl=False)
    else:
        click.echo(report.text(colour=_in_colour()), nl=False)
        if json_file is not None:
            write_json(report, json_file)
    if html_file is not None:
        from validate.report.html import write_html

        write_html(report, html_file)
    return report.exit_code(strict)


def _in_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _cores() -> int:
    """Cores that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limits(words: tuple[str, ...]) -> dict[str, float]:
    limits = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            limits[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise InputError(f"--limit expects NAME=VALUE with a number, got {word!r}") from None
    return limits
