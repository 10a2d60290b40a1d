"""Points from depth: where splatting begins, in COLMAP's and nerfstudio's folders."""

import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import trimesh

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import project
from objnerf.dataset.convert import clouds, convert


def _read(root: Path, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and colours of scene 0, by other programs' readers."""
    if target == "nerfstudio":
        name = json.loads((root / "sc0000" / "transforms.json").read_text())["ply_file_path"]
        cloud = trimesh.load(root / "sc0000" / name, process=False)
        return np.asarray(cloud.vertices), np.asarray(cloud.colors)[:, :3]
    points = pycolmap.Reconstruction(root / "sc0000" / "sparse" / "0").points3D
    ordered = [points[number] for number in sorted(points)]
    return np.array([point.xyz for point in ordered]), np.array([point.color for point in ordered])


@pytest.mark.parametrize("target", ["colmap", "colmap-binary", "nerfstudio"])
def test_points_lie_where_the_depth_maps_say(
    data: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "MOST_POINTS", 2000)
    convert(data / "blocks_depth", tmp_path / "there", target_format=target)
    points, colours = _read(tmp_path / "there", target)
    assert len(points) == len(colours) == 2000
    dataset = open_dataset(data / "blocks_depth")
    explained = np.zeros(len(points), bool)
    for view in dataset.scenes[0].views:
        pixel, depth = project(points, dataset.intrinsics(160, 120), view.pose())
        column, row = np.rint(pixel).astype(int).T
        inside = (column >= 0) & (column < 160) & (row >= 0) & (row < 120) & (depth > 0)
        column, row = np.clip(column, 0, 159), np.clip(row, 0, 119)
        # PLY holds float32: 1e-4 of a unit is a fiftieth of a pixel's width here.
        same_place = np.abs(pixel - np.stack([column, row], axis=1)).max(axis=1) < 1e-2
        same_depth = np.abs(view.depth()[row, column] - depth) < 1e-4
        same_colour = (view.image()[row, column] == colours).all(axis=1)
        explained |= inside & same_place & same_depth & same_colour
    assert explained.all(), "every point is a pixel of some view, with its depth and its colour"


def test_without_depth_the_points_of_the_source_are_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "MOST_POINTS", 2000)
    convert(data / "blocks_depth", tmp_path / "there", target_format="colmap")
    for path in (tmp_path / "there").rglob("*.npy"):
        path.unlink()
    convert(tmp_path / "there", tmp_path / "again", target_format="nerfstudio")
    before, _ = _read(tmp_path / "there", "colmap")
    points, colours = _read(tmp_path / "again", "nerfstudio")
    np.testing.assert_allclose(points, before, atol=1e-5)
    assert (colours == 128).all()


@pytest.mark.parametrize("target", ["colmap", "nerfstudio"])
def test_a_scene_without_any_has_none(data: Path, tmp_path: Path, target: str) -> None:
    convert(data / "blocks", tmp_path / "there", target_format=target)
    if target == "colmap":
        points, _ = _read(tmp_path / "there", target)
        assert len(points) == 0
    else:
        assert "ply_file_path" not in json.loads((tmp_path / "there/sc0000/transforms.json").read_text())
        assert not list((tmp_path / "there").rglob("*.ply"))
