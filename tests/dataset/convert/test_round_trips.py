"""There and back: every format restores poses to 1e-6 and what else it has a place for."""

from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import open_dataset
from objnerf.dataset.convert import convert, recognise

FOREIGN = ("nerfstudio", "instant-ngp", "colmap", "colmap-binary", "obsurf", "uocf", "webdataset")
FOREIGN += ("webdataset-scenes", "parquet")
#: Steps of ObSuRF's 16-bit depth: 1 / (65536 · 0.025) = 6.1e-4 world units, half of it by rounding.
DEPTH_TOLERANCE = {"obsurf": 3.1e-4}


def _assert_same(source: Path, back: Path, depth_tolerance: float) -> None:
    before, after = list(open_dataset(source).views()), list(open_dataset(back).views())
    assert [view.stem for view in after] == [view.stem for view in before]
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found.pose(), expected.pose(), atol=1e-6, rtol=0)
        np.testing.assert_allclose(found.azimuth(), expected.azimuth(), atol=2e-6, rtol=0)
        assert found.image_path.read_bytes() == expected.image_path.read_bytes()
        assert (found.mask_path is None) == (expected.mask_path is None)
        if expected.mask_path is not None:
            np.testing.assert_array_equal(found.mask(), expected.mask())
        assert (found.depth_path is None) == (expected.depth_path is None)
        if expected.depth_path is not None:
            np.testing.assert_allclose(found.depth(), expected.depth(), atol=depth_tolerance, rtol=0)


@pytest.mark.parametrize("target", FOREIGN)
@pytest.mark.parametrize("name", ["blocks", "blocks_depth"])
def test_foreign_data_comes_back_equal(data: Path, tmp_path: Path, name: str, target: str) -> None:
    there = convert(data / name, tmp_path / "there", target_format=target)
    assert there.views == 4 * there.scenes
    assert there.left_out == ()
    assert "35 mm lens" in there.notes[0]
    back = convert(tmp_path / "there", tmp_path / "back")
    assert (back.scenes, back.views, back.left_out) == (there.scenes, there.views, ())
    _assert_same(data / name, tmp_path / "back", DEPTH_TOLERANCE.get(target, 0.0))


@pytest.mark.parametrize("target", FOREIGN)
def test_our_own_data_comes_back_equal_with_its_card(make_dataset, tmp_path: Path, target: str) -> None:
    source = make_dataset(3, 2)
    convert(source, tmp_path / "there", target_format=target)
    back = convert(tmp_path / "there", tmp_path / "back")
    assert back.notes == ()
    _assert_same(source, tmp_path / "back", DEPTH_TOLERANCE.get(target, 0.0))
    card = open_dataset(tmp_path / "back").card()
    assert card is not None
    assert (card.near, card.far, card.nss_scale, card.seed) == (6.0, 20.0, 7.0, 11)
    assert card.focal_ratio == pytest.approx((350 / 320, 350 / 240))
    assert (card.scenes, card.views_per_scene, card.image_size) == (3, 2, (16, 12))


@pytest.mark.parametrize("target", FOREIGN)
def test_poses_of_few_digits_come_back_with_these_digits(
    documented: Path, tmp_path: Path, target: str
) -> None:
    convert(documented, tmp_path / "there", target_format=target)
    convert(tmp_path / "there", tmp_path / "back")
    (before,), (after,) = open_dataset(documented).views(), open_dataset(tmp_path / "back").views()
    np.testing.assert_allclose(after.pose(), before.pose(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "target", ["nerfstudio", "instant-ngp", "colmap", "colmap-binary", "uocf", "webdataset"]
)
def test_other_lenses_and_other_targets_come_back(make_dataset, tmp_path: Path, target: str) -> None:
    source = make_dataset(2, 3, size=(20, 20), focal_ratio=(0.9, 1.3), target=(1.0, -0.5, 0.7))
    convert(source, tmp_path / "there", target_format=target)
    convert(tmp_path / "there", tmp_path / "back")
    _assert_same(source, tmp_path / "back", 0.0)
    card = open_dataset(tmp_path / "back").card()
    assert card is not None
    assert card.focal_ratio == pytest.approx((0.9, 1.3), rel=1e-12)


@pytest.mark.parametrize("first", FOREIGN)
@pytest.mark.parametrize("second", ["nerfstudio", "colmap", "webdataset"])
def test_from_one_foreign_format_to_another(make_dataset, tmp_path: Path, first: str, second: str) -> None:
    source = make_dataset(2, 2)
    convert(source, tmp_path / "first", target_format=first)
    convert(tmp_path / "first", tmp_path / "second", target_format=second)
    convert(tmp_path / "second", tmp_path / "back")
    _assert_same(source, tmp_path / "back", DEPTH_TOLERANCE.get(first, 0.0))


@pytest.mark.parametrize(
    ("target", "recognised"),
    [
        ("nerfstudio", "nerfstudio"),
        ("instant-ngp", "nerfstudio"),
        ("colmap", "colmap"),
        ("colmap-binary", "colmap"),
        ("obsurf", "obsurf"),
        ("uocf", "uocf"),
        ("webdataset", "webdataset"),
    ],
)
def test_folders_are_recognised(make_dataset, tmp_path: Path, target: str, recognised: str) -> None:
    source = make_dataset(1, 1)
    assert recognise(source) == "objnerf"
    convert(source, tmp_path / "there", target_format=target)
    assert recognise(tmp_path / "there") == recognised
