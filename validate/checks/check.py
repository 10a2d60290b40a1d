"""A check: a function from an analysis to findings, with its id, severity and limits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from validate.analysis.model import Analysis
from validate.findings import Finding, Severity

CheckFunction = Callable[[Analysis], Iterator[Finding]]

#: What a check looks at: names and poses alone (cheap), pictures too, or feature matches.
Needs = Literal["poses", "pictures", "photo"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        id: stable id.
        severity: the highest severity of its findings.
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


def check(
    id: str, severity: Severity, title: str, needs: Needs = "poses", limits: tuple[str, ...] = ()
) -> Callable[[CheckFunction], Check]:
    """Make a function a check."""

    def make(function: CheckFunction) -> Check:
        return Check(id, severity, title, function, needs, limits)

    return make
