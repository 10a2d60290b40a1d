"""Small rigs and a headless browser for the tests of pictures."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import write_image, write_matrix


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a dataset of `scenes` × `views` views on a circle of radius 8 at height 9."""

    def make(scenes: int = 2, views: int = 2, size: tuple[int, int] = (16, 12)) -> Path:
        root = tmp_path / "rig"
        index = 0
        for scene in range(scenes):
            for view in range(views):
                angle = 2 * np.pi * index / (scenes * views) + 0.3
                pose = look_at(np.array([8 * np.cos(angle), 8 * np.sin(angle), 9.0]), np.zeros(3))
                stem = f"{index:05d}_sc{scene:04d}_img{view}"
                write_matrix(root / f"{stem}_RT.txt", pose)
                image = np.full((size[1], size[0], 3), 40 * index % 256, np.uint8)
                write_image(root / f"{stem}.png", image)
                index += 1
        return root

    return make


@pytest.fixture
def rendered_dom() -> Callable[[Path], str]:
    """A function that opens a page in headless Chromium, without a network, and returns its document."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )
    if browser is None:
        pytest.skip("no chromium is installed: pages can't be opened as a user would")

    def render(page: Path) -> str:
        done = subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={page.parent / 'browser'}",
                "--window-size=800,600",
                "--virtual-time-budget=9000",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    return render
