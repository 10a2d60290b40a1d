"""Small sets of cameras for the tests of pictures."""

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
        root = tmp_path / "plot"
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
