"""The figures of a look, on pictures whose every pixel is known."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import files

LOOK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "look.py"))


def test_measured_by_hand(tmp_path: Path) -> None:
    image = np.full((10, 10, 3), 90, dtype=np.uint8)
    labels = np.zeros((10, 10), dtype=np.int64)
    # saturations: (100 - 40) / 100 = 0.6 on 30 pixels, (200 - 100) / 200 = 0.5 on 10; grey pixels have none
    image[:3], labels[:3] = (100, 40, 40), 1
    image[3], labels[3] = (100, 200, 150), 2
    image[9, :6] = 255
    files.write_image(tmp_path / "sc0000_a.png", image)
    files.write_image(tmp_path / "sc0000_a_mask.png", files.mask_from_labels(labels))
    files.write_matrix(tmp_path / "sc0000_a_RT.txt", np.eye(4))
    figures = LOOK["measure"](tmp_path)
    # 6 of the background's 60 pixels are white
    assert figures == {
        "brightest": [100, 100, 200],
        "saturation": 0.6,
        "clipped": pytest.approx(0.1),
        "darkest": 90.0,
    }
