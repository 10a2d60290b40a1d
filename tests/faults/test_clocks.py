"""A clock that jumps: the time of day is written down for people, and nothing is computed with it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: What asks for the time of day. `time.monotonic` and `time.perf_counter` never jump.
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

#: Where it is written down: the sessions of a run in its `environment.json`; the day of a dataset's card.
WRITTEN_DOWN = {("objnerf/training/runs.py", "datetime.now"), ("objnerf/cards/__init__.py", "date.today")}


def wall_clocks(path: Path) -> set[str]:
    """Calls in a source file that ask for the time of day."""
    names = (
        ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    )
    return {".".join(name.split(".")[-2:]) for name in names} & WALL_CLOCKS


def test_nothing_is_computed_with_the_time_of_day() -> None:
    sources = [
        ROOT / "cli.py",
        *(p for d in ("objnerf", "generation", "validate") for p in (ROOT / d).rglob("*.py")),
    ]
    found = {(str(path.relative_to(ROOT)), call) for path in sources for call in wall_clocks(path)}
    assert found == WRITTEN_DOWN


@pytest.mark.parametrize("call", ["time.time()", "datetime.datetime.now(UTC)", "datetime.now()"])
def test_such_a_call_would_be_found(call: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(f"deadline = {call} + 60\n")
    assert wall_clocks(tmp_path / "module.py")
