"""The list of all checks: each a function from a survey to findings, with its id, severity and limits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from objnerf.errors import InputError
from validate.findings import Finding, Severity
from validate.survey import Survey

CheckFunction = Callable[[Survey], Iterator[Finding]]

#: What a check looks at: names and poses alone (cheap), pictures too, or feature matches.
Needs = Literal["poses", "pictures", "photo"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: stable id.
        severity: the gravest severity that it gives.
        title: what it checks, in one line.
        needs: what has to be read for it.
        limits: names of the thresholds that it uses (fields of ``Limits``).
    """

    id: str
    severity: Severity
    title: str
    function: CheckFunction
    needs: Needs = "poses"
    limits: tuple[str, ...] = ()


#: The order of reports: what is read first comes first.
ORDER = (
    *("FILE-NAME", "FILE-IDS", "FILE-AMBIGUOUS", "FILE-STRAY", "FILE-MISSING", "FILE-VIEWS"),
    *("IMAGE-READ", "IMAGE-SIZE", "IMAGE-MODE", "IMAGE-BLANK", "IMAGE-DUP"),
    *("POSE-READ", "POSE-SHAPE", "POSE-FINITE", "POSE-BOTTOM", "POSE-ORTHO", "POSE-DET"),
    *("POSE-AXES", "POSE-HANDED", "POSE-INVERTED", "POSE-TRANSPOSED", "POSE-TRANSLATION"),
    *("POSE-UP", "POSE-ROLL", "POSE-DUP"),
    *("WORLD-CENTRE", "WORLD-SCALE", "BOX-PIXELS", "BOX-OBJECTS", "NEAR-FAR"),
    *("INTRINSICS", "INTRINSICS-FILE"),
    *("MASK-LEVELS", "MASK-BACKGROUND", "MASK-SMALL", "MASK-SIZE"),
    *("DEPTH-READ", "DEPTH-KIND", "DEPTH-VIEWS", "AZIMUTH", "VIEWS-SPREAD", "META", "PHOTO"),
)

_CHECKS: dict[str, Check] = {}


def check(
    id: str, severity: Severity, title: str, needs: Needs = "poses", limits: tuple[str, ...] = ()
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check under its id."""

    def register(function: CheckFunction) -> CheckFunction:
        if id in _CHECKS:
            raise ValueError(f"two checks are called {id}")
        _CHECKS[id] = Check(id, severity, title, function, needs, limits)
        return function

    return register


def all_checks() -> dict[str, Check]:
    """Every check by id, in the order in which they are reported."""
    # Imported here because each module imports this one.
    from validate.checks import (  # noqa: F401
        azimuth,
        boxes,
        depths,
        files,
        images,
        lenses,
        masks,
        meta,
        photo,
        poses,
        world,
    )

    return {id: _CHECKS[id] for id in ORDER if id in _CHECKS}


def explain(id: str) -> str:
    """The documentation page of a check: what it means, how it happens, how to mend it, an example.

    Raises:
        InputError: there is no such check.
    """
    name = id.strip().upper()
    if name not in all_checks():
        raise InputError(f"no check is called {id!r}; there are {', '.join(all_checks())}")
    return (resources.files("validate.checks") / "pages" / f"{name}.md").read_text(encoding="utf-8")
