"""Shared by all tests: shapes are checked while they run, and the small data that comes with the clone."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OpenedPage:
    """What a browser made of a page.

    Attributes:
        dom: the document, as HTML, after its scripts ran.
        errors: what the console has but information: errors, warnings, requests that were refused.
    """

    dom: str
    errors: tuple[str, ...]


# Any request for something outside the file is refused, and said in the console.
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data:\">"
)


@pytest.fixture
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], OpenedPage]:
    """A function that opens a page in headless Chromium, without a network, as a user would."""
    found = [
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    ]
    if not found:
        pytest.skip("no chromium is installed: pages can't be opened as a user would")

    def browse(content: str) -> OpenedPage:
        folder = tmp_path_factory.mktemp("browser")
        page = folder / "page.html"
        page.write_text(content.replace("<head>", f"<head>{_POLICY}", 1), encoding="utf-8")

        done = subprocess.run(
            [
                *(found[0], "--headless=new", "--no-sandbox", "--disable-dev-shm-usage"),
                *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
                *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"),
                *("--window-size=800,600", "--virtual-time-budget=30000", "--enable-logging=stderr"),
                *("--dump-dom", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        lines = done.stderr.splitlines()
        errors = tuple(line for line in lines if "CONSOLE" in line and ":INFO:" not in line)
        return OpenedPage(done.stdout, errors)

    return browse
