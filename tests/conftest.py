"""Shared by all tests: shapes are checked while they run, and the small data that comes with the clone."""

import os
from pathlib import Path

# Before numpy and torch are imported: xdist already keeps both cores busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# The annotations of public functions are true, or a test fails. bpy's worker runs in its own process.
_hook = install_import_hook(
    ["objnerf", "generation.assets", "generation.plan", "validate"], "beartype.beartype"
)

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def data() -> Path:
    """``tests/data``: small datasets made by another program, and parity sets."""
    return Path(__file__).parent / "data"
