"""Feature matches against poses, on pictures of a textured corner that are ray-cast here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import validate
from objnerf.dataset import DatasetCard, files, write_card
from objnerf.dataset.cameras import Intrinsics, Pinhole, look_at, project, world_from_azimuth, world_rays
from validate.analysis.matches import fits_poses
from validate.measure.matches import Matches

pytest.importorskip("cv2", reason="OpenCV is not installed (extra: photo)")

SIZE = (240, 180)
INTRINSICS = Intrinsics.from_focal_ratio((350 / 320, 350 / 240), *SIZE)
CAMERAS = (INTRINSICS, INTRINSICS)


def texture(seed: int) -> np.ndarray:
    """Blobs of many sizes, which features are found on: 256×256 RGB."""
    rng = np.random.default_rng(seed)
    result = np.zeros((256, 256, 3))
    for cells in (16, 32, 64, 128):
        noise = (rng.random((cells, cells, 3)) * 255).astype(np.uint8)
        result += (
            np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))
            * (16 / cells) ** 0.5
        )
    result -= result.min()
    return (255 * result / result.max()).astype(np.uint8)


def ray_cast(
    pose: np.ndarray, ground: np.ndarray, wall: np.ndarray, camera: Intrinsics = INTRINSICS
) -> np.ndarray:
    """A ground z = 0 and a wall x = -4 before which it ends, both textured with 16 texels a unit."""
    origin, directions = world_rays(camera, pose)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_ground = -origin[2] / directions[..., 2]
        to_wall = (-4.0 - origin[0]) / directions[..., 0]
    to_ground = np.where(to_ground > 0, to_ground, np.inf)
    to_wall = np.where(to_wall > 0, to_wall, np.inf)
    depth = np.minimum(to_ground, to_wall)
    points = origin + depth[..., None] * directions
    texel = np.floor(points * 16).astype(int) % 256
    on_ground = ground[texel[..., 1], texel[..., 0]]
    on_wall = wall[texel[..., 2], texel[..., 1]]
    return np.where((to_ground <= to_wall)[..., None], on_ground, on_wall)


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of four views, 12° apart, without depth."""
    root = tmp_path_factory.mktemp("photo") / "corner"
    root.mkdir()
    for scene in range(2):
        ground, wall = texture(2 * scene), texture(2 * scene + 1)
        for view in range(4):
            azimuth, height = np.radians(12.0 * view + 20.0 * scene - 25.0), np.radians(35.0)
            eye = 12.0 * np.array(
                [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
            )
            pose = look_at(eye, np.zeros(3))
            base = root / f"{4 * scene + view:05d}_sc{scene:04d}_img{view}"
            Image.fromarray(ray_cast(pose, ground, wall)).save(f"{base}.png")
            files.write_matrix(f"{base}_RT.txt", pose)
            files.write_matrix(f"{base}_azi_rot.txt", world_from_azimuth(pose))
    return root


def test_right_poses_pass(corner: Path) -> None:
    report = validate.run(corner, validate.Options(photo=True))
    assert "PHOTO" in report.checked
    assert report.findings == (), validate.render_text(report)


def test_exchanged_poses_are_named(corner: Path, tmp_path: Path) -> None:
    """The poses of scene 1 in reverse order: no other check can see it without depth."""
    folder = tmp_path / "exchanged"
    folder.mkdir()
    for path in corner.iterdir():
        name = path.name
        if "sc0001" in name and name.endswith(".txt"):
            view = int(name[0:5]) - 4
            name = f"{7 - view:05d}_sc0001_img{3 - view}" + name.split(f"img{view}")[1]
        (folder / name).write_bytes(path.read_bytes())
    assert validate.run(folder).findings == ()
    report = validate.run(folder, validate.Options(photo=True))
    assert [(finding.id, finding.scene) for finding in report.findings] == [("PHOTO", 1)], (
        validate.render_text(report)
    )


def test_without_texture_it_says_that_it_cannot_tell(data: Path, tmp_path: Path) -> None:
    for path in (data / "blocks").glob("*sc0000_*"):
        if path.suffix == ".png" and "mask" not in path.name:
            flat = np.full((120, 160, 3), 90, dtype=np.uint8)
            flat[:, : 20 + int(path.name[:5])] = 160
            Image.fromarray(flat).save(tmp_path / path.name)
        else:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    report = validate.run(tmp_path, validate.Options(photo=True, only=["PHOTO"]))
    assert [(finding.id, finding.severity) for finding in report.findings] == [("PHOTO", "W")]


def test_points_behind_a_camera_do_not_fit() -> None:
    """Projections of world points fit; the same lines with one camera turned round do not."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-2, 2, (50, 3))
    first = look_at(np.array([10.0, 0, 6]), np.zeros(3))
    second = look_at(np.array([9.0, 5, 6]), np.zeros(3))
    seen = Matches(project(points, INTRINSICS, first)[0], project(points, INTRINSICS, second)[0])
    assert fits_poses(seen, CAMERAS, np.stack([first, second]), 0.5).all()
    # Half a turn about the vertical and the horizontal axis keeps the epipolar lines of a camera that looks
    # the other way, but puts every point behind it.
    behind = second.copy()
    behind[:3, :3] = second[:3, :3] @ np.diag([-1.0, -1.0, 1.0])
    mirrored = Matches(seen.first, np.array([SIZE[0] - 1, SIZE[1] - 1]) - seen.second)
    assert fits_poses(mirrored, CAMERAS, np.stack([first, behind]), 0.5).all()
    away = behind.copy()
    away[:3, :3] = behind[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    assert not fits_poses(mirrored, CAMERAS, np.stack([first, away]), 0.5).any()


def test_each_view_is_judged_by_its_own_lens(tmp_path: Path) -> None:
    """Focal lengths of 0.9 and 1.4 times the reference's, and a principal point a tenth off the middle.

    Their median, 1.15, is nobody's: with it hardly a match lies on its epipolar line.
    """
    pinholes = [
        Pinhole((factor * 350 / 320, factor * 350 / 240), (offset, 0.0))
        for factor, offset in ((0.9, 0.1), (1.4, 0.0), (0.9, 0.0), (1.4, -0.1))
    ]
    ground, wall = texture(0), texture(1)
    for view, pinhole in enumerate(pinholes):
        azimuth, height = np.radians(12.0 * view - 20.0), np.radians(35.0)
        eye = 12.0 * np.array(
            [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
        )
        pose = look_at(eye, np.zeros(3))
        base = tmp_path / f"{view:05d}_sc0000_img{view}"
        Image.fromarray(ray_cast(pose, ground, wall, pinhole.at(*SIZE))).save(f"{base}.png")
        files.write_matrix(f"{base}_RT.txt", pose)
        files.write_pinhole(f"{base}_intrinsics.txt", pinhole)
    assert validate.run(tmp_path, validate.Options(only=("PHOTO",), photo=True)).findings == ()
    for path in tmp_path.glob("*_intrinsics.txt"):
        path.unlink()
    card = DatasetCard(focal_ratio=(1.15 * 350 / 320, 1.15 * 350 / 240))
    write_card(tmp_path, card)
    (finding,) = validate.run(tmp_path, validate.Options(only=("PHOTO",), photo=True)).findings
    assert finding.severity == "E"
