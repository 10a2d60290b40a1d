"""What the ``validate`` verb does around ``run``: reports, the fixed copy, and the exit status."""

import os
import sys
from pathlib import Path

import click

from objnerf.console import progress_bar
from objnerf.errors import InputError
from validate.options import Options
from validate.report.json import render_json, write_json
from validate.report.text import render_text
from validate.runner import run


def command(
    dataset: Path,
    options: Options,
    json_file: Path | None = None,
    html_file: Path | None = None,
    *,
    strict: bool = False,
) -> int:
    """Validate, print the report, write the files asked for; the exit status.

    Raises:
        InputError: the dataset cannot be validated.
        WorkError: a report or the fixed copy cannot be written.
    """
    with progress_bar("reading", "views") as progress:
        report = run(dataset, options, progress=progress)
    if json_file is not None and str(json_file) == "-":
        click.echo(render_json(report), nl=False)
    else:
        click.echo(render_text(report, colour=_in_colour()), nl=False)
        if json_file is not None:
            write_json(report, json_file)
    if html_file is not None:
        from validate.report.html import write_html

        write_html(report, html_file)
    return report.exit_code(strict)


def _in_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def cores() -> int:
    """Cores that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_limits(words: tuple[str, ...]) -> dict[str, float]:
    """Thresholds from ``NAME=VALUE``.

    Raises:
        InputError: a word has another form.
    """
    limits = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            limits[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise InputError(f"--limit expects NAME=VALUE with a number, got {word!r}") from None
    return limits
