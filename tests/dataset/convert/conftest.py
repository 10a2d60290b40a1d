"""Small datasets of our format, made by hand, for the tests of conversion."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import DatasetCard, write_card
from objnerf.dataset.cameras import look_at
from objnerf.dataset.files import mask_from_labels, write_depth, write_image, write_matrix
from objnerf.dataset.names import make_view_stem

# The matrix that the format's own documentation shows; five digits make no exact rotation.
DOCUMENTED = """0.87944 -0.30801 0.36292 -4.49662
-0.47601 -0.56906 0.67051 -8.30771
-0.00000 -0.76243 -0.64707 8.01728
0.00000 0.00000 0.00000 1.00000
"""


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a dataset with masks, depth and a card; every picture is different noise."""

    def make(
        scenes: int = 2,
        views: int = 2,
        size: tuple[int, int] = (16, 12),
        focal_ratio: tuple[float, float] = (350 / 320, 350 / 240),
        target: tuple[float, float, float] = (0.0, 0.0, 0.0),
        name: str = "ours",
    ) -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(3)
        index = 0
        for scene in range(scenes):
            for view in range(views):
                stem = make_view_stem(index, scene, view, scenes)
                position = np.array([*rng.uniform(-9, 9, 2), rng.uniform(4, 9)])
                write_matrix(root / f"{stem}_RT.txt", look_at(position, np.array(target)))
                write_image(root / f"{stem}.png", rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
                labels = np.zeros((size[1], size[0]), np.int64)
                labels[2:5, 2:5], labels[6:9, 3:9] = 1, 2 + view % 2
                write_image(root / f"{stem}_mask.png", mask_from_labels(labels))
                write_depth(root / f"{stem}_depth.npy", rng.uniform(6, 20, (size[1], size[0])))
                index += 1
        write_card(root, DatasetCard(focal_ratio=focal_ratio, near=6.0, far=20.0, nss_scale=7.0, seed=11))
        return root

    return make


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """A dataset of one view, whose pose is the documentation's example, digit for digit."""
    root = tmp_path / "documented"
    write_image(root / "00000_sc0000_img0.png", np.full((12, 16, 3), 90, np.uint8))
    (root / "00000_sc0000_img0_RT.txt").write_text(DOCUMENTED)
    return root
