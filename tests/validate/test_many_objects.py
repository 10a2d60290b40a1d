"""Masks with more objects than a table-top scene has, as MultiShapeNet's are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import validate
from objnerf.dataset import files, open_dataset


def test_many_small_objects_in_the_formats_colours_are_no_smoothed_edges(
    data: Path, copy_of: Callable[[str], Path]
) -> None:
    """Thirty objects, of which most are two pixels; in other colours the same picture is a smoothed one."""
    folder = copy_of("blocks")
    for view in open_dataset(folder).views():
        labels = view.labels()
        labels[1:3, 1:60:2] = 0
        labels[1:3, 2 : 2 + 2 * 28 : 2] = np.arange(3, 31)
        files.write_image(folder / f"{view.stem}_mask.png", files.mask_from_labels(labels))
    report = validate.run(folder, validate.Options(only=("MASK-LEVELS", "MASK-BACKGROUND")))
    assert not [finding for finding in report.findings if finding.severity == "E"]
    for view in open_dataset(folder).views():
        mask = view.mask().copy()
        mask[1:3, 2 : 2 + 2 * 28 : 2] ^= 1
        files.write_image(folder / f"{view.stem}_mask.png", mask)
    (finding,) = validate.run(folder, validate.Options(only=("MASK-LEVELS",))).findings
    assert "anti-aliased" in finding.message
