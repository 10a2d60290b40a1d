"""Datasets of renderers: Kubric's folders, BOP's scenes and BlenderProc's HDF5 files.

A small scene of spheres on a ground is cast here ray by ray, with cameras in each format's own terms, and
written as the format's public description has it; nothing of the importers is used for it.
"""

import builtins
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

import validate
from objnerf.dataset import Dataset, open_dataset
from objnerf.dataset.card import read_card
from objnerf.dataset.convert import convert, recognise
from objnerf.errors import InputError

WIDTH, HEIGHT = 80, 60
#: Centre x, y, z and radius.
SPHERES = np.array([[0.9, 0.2, 0.8, 0.8], [-1.1, -0.6, 0.6, 0.6], [-0.2, 1.3, 0.5, 0.5]])
#: Where the same spheres stand in another scene.
ELSEWHERE = SPHERES[[0, 1, 2]] * [-1, -1, 1, 1] + [0.3, 0.5, 0, 0]


def matrix_world(azimuth: float, elevation: float, distance: float = 11.0) -> np.ndarray:
    """Blender's matrix of a camera that looks at a point near the origin: its x right, y up, z backwards."""
    a, e = np.radians([azimuth, elevation])
    place = distance * np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    back = place - [0.1, 0.0, 0.3]
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :4] = np.stack([right, np.cross(back, right), back, place], axis=1)
    return matrix


RIG = [
    matrix_world(azimuth, elevation)
    for azimuth, elevation in ((10, 38), (80, 44), (160, 36), (235, 41), (310, 47))
]


@dataclass
class Cast:
    """What rays meet: distances along them, numbers of spheres (from 1; 0 is the ground), colours."""

    distance: np.ndarray
    ids: np.ndarray
    colours: np.ndarray


def cast(origin: np.ndarray, rays: np.ndarray, spheres: np.ndarray = SPHERES) -> Cast:
    """Follow rays of unit length through the scene, all of which meet its ground at the latest."""
    distance = -origin[2] / rays[..., 2]
    ids = np.zeros(distance.shape, dtype=np.int64)
    for number, (*centre, radius) in enumerate(spheres.tolist(), start=1):
        offset = origin - np.array(centre)
        middle = -(rays @ offset)
        inside = middle**2 - (offset @ offset - radius**2)
        hit = middle - np.sqrt(np.where(inside > 0, inside, np.nan))
        nearer = hit < distance
        distance, ids = np.where(nearer, hit, distance), np.where(nearer, number, ids)
    points = origin + distance[..., None] * rays
    checks = (np.floor(points[..., :2]).sum(axis=-1) % 2)[..., None]
    paints = np.array([[150, 150, 140], [200, 60, 50], [60, 180, 70], [50, 80, 200]])[ids]
    return Cast(distance, ids, (paints - 40 * checks).astype(np.uint8))


def on_surface(points: np.ndarray, spheres: np.ndarray = SPHERES) -> np.ndarray:
    """How far points lie from the nearest surface."""
    away = [np.abs(np.linalg.norm(points - sphere[:3], axis=-1) - sphere[3]) for sphere in spheres]
    return np.min([np.abs(points[..., 2]), *away], axis=0)


def rays_of(matrix: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """World rays of unit length of directions in Blender's camera axes."""
    rays = directions @ matrix[:3, :3].T
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def pixel_rays(matrix: np.ndarray, k: np.ndarray) -> np.ndarray:
    """World rays of all pixels, for a camera matrix with centres of pixels at whole numbers."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    # OpenCV's directions in Blender's axes: y and z turned over.
    down, across = (v - k[1, 2]) / k[1, 1], (u - k[0, 2]) / k[0, 0]
    return rays_of(matrix, np.stack([across, -down, -np.ones(u.shape)], axis=-1))


def check_geometry(
    dataset: Dataset,
    matrices: list[np.ndarray],
    tolerance: float,
    spheres: np.ndarray = SPHERES,
    scene: int = 0,
) -> None:
    """Every pixel's depth lies on the scene's surface, and shows the object that its label says.

    So do surfaces that several views see agree, in place and in label.
    """
    views = dataset.scenes[scene].views
    assert len(views) == len(matrices)
    for view, matrix in zip(views, matrices, strict=True):
        pose, depth, labels = view.pose(), view.depth().astype(np.float64), view.labels()
        np.testing.assert_allclose(pose[:3, 3], matrix[:3, 3], atol=1e-6)
        camera = (view.pinhole() or dataset.default_pinhole()).at(WIDTH, HEIGHT)
        u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
        points = (np.stack([x, y, np.ones(x.shape)], axis=-1) * depth[..., None]) @ pose[:3, :3].T + pose[
            :3, 3
        ]
        assert on_surface(points, spheres).max() < tolerance
        for number, sphere in enumerate(spheres, start=1):
            shown = points[labels == number]
            assert len(shown) > 20
            assert np.abs(np.linalg.norm(shown - sphere[:3], axis=-1) - sphere[3]).max() < tolerance


def check_known_points(dataset: Dataset, project: Callable[[int, np.ndarray], np.ndarray]) -> None:
    """Points are seen where the format's own arithmetic has them; ``project(view, point)`` is in pixels."""
    for number, view in enumerate(dataset.views()):
        camera = (view.pinhole() or dataset.default_pinhole()).at(WIDTH, HEIGHT)
        from_world = np.linalg.inv(view.pose())
        for point in ([0.0, 0.0, 0.0], [1.5, -1.0, 0.4], [-0.7, 2.0, 1.9]):
            x, y, z = from_world[:3, :3] @ point + from_world[:3, 3]
            found = [camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy]
            np.testing.assert_allclose(found, project(number, np.array(point)), atol=1e-4)


def check_sound(folder: Path) -> None:
    errors = [finding for finding in validate.run(folder).findings if finding.severity == "E"]
    assert not errors, errors


# Kubric

FOCAL, SENSOR = 35.0, 32.0


def kubric_rays(matrix: np.ndarray) -> np.ndarray:
    """Through the sensor, in millimetres; centres of pixels lie between their borders."""
    pixel = SENSOR / WIDTH
    across = (np.arange(WIDTH) + 0.5) * pixel - SENSOR / 2
    upwards = HEIGHT * pixel / 2 - (np.arange(HEIGHT) + 0.5) * pixel
    x, y = np.meshgrid(across, upwards)
    return rays_of(matrix, np.stack([x, y, np.full(x.shape, -FOCAL)], axis=-1))


def kubric_k() -> np.ndarray:
    focal = FOCAL / SENSOR
    return np.array([[focal, 0, -0.5], [0, -focal * WIDTH / HEIGHT, -0.5], [0, 0, -1]])


def write_kubric(
    folder: Path, depth: str = "tiff", palette: bool = True, spheres: np.ndarray = SPHERES, **changes: Any
) -> Path:
    """One scene, as Kubric's ``write_image_dict`` and ``write_json`` leave it."""
    folder.mkdir(parents=True)
    casts = [cast(matrix[:3, 3], kubric_rays(matrix), spheres) for matrix in RIG]
    low, high = min(c.distance.min() for c in casts), max(c.distance.max() for c in casts)
    for number, found in enumerate(casts):
        rgba = np.concatenate([found.colours, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=-1)
        Image.fromarray(rgba).save(folder / f"rgba_{number:05d}.png")
        ids = Image.fromarray(found.ids.astype(np.uint8 if palette else np.uint16))
        if palette:
            ids = Image.fromarray(found.ids.astype(np.uint8), mode="P")
            ids.putpalette([0, 0, 0, 255, 0, 0, 10, 250, 3, 7, 5, 250])
        ids.save(folder / f"segmentation_{number:05d}.png")
        if depth == "tiff":
            Image.fromarray(found.distance.astype(np.float32)).save(folder / f"depth_{number:05d}.tiff")
        else:
            steps = ((found.distance - low) * 65535 / (high - low)).astype(np.uint16)
            Image.fromarray(steps).save(folder / f"depth_{number:05d}.png")
    if depth == "png":
        (folder / "data_ranges.json").write_text(json.dumps({"depth": {"min": low, "max": high}}))
    quaternions = [Rotation.from_matrix(matrix[:3, :3]).as_quat()[[3, 0, 1, 2]].tolist() for matrix in RIG]
    camera = {
        "focal_length": FOCAL,
        "sensor_width": SENSOR,
        "field_of_view": 2 * np.arctan2(SENSOR / 2, FOCAL),
        "positions": [matrix[:3, 3].tolist() for matrix in RIG],
        "quaternions": quaternions,
        "K": kubric_k().tolist(),
        "R": RIG[-1].tolist(),
    }
    camera = {key: value for key, value in (camera | changes.pop("camera", {})).items() if value is not None}
    metadata = {"resolution": [WIDTH, HEIGHT], "num_frames": len(RIG), "num_instances": len(spheres)}
    instances = [{"positions": [sphere[:3].tolist()] * len(RIG)} for sphere in spheres]
    content = {"metadata": metadata, "camera": camera, "instances": instances} | changes
    (folder / "metadata.json").write_text(json.dumps(content))
    return folder


def kubric_pixel(view: int, point: np.ndarray) -> np.ndarray:
    """As Kubric's ``project_point``: shares of the picture, from border to border."""
    in_camera = np.linalg.inv(RIG[view]) @ np.append(point, 1.0)
    image = kubric_k() @ in_camera[:3]
    return image[:2] / image[2] * [WIDTH, HEIGHT] - 0.5


@pytest.mark.parametrize(("depth", "palette"), [("tiff", True), ("png", False)])
def test_kubric(tmp_path: Path, depth: str, palette: bool) -> None:
    source = write_kubric(tmp_path / "0", depth, palette)
    done = convert(source, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views) == ("kubric", 1, len(RIG))
    dataset = open_dataset(tmp_path / "ours")
    # 16 bits over some 40 units are steps of 0.0006 along the ray.
    check_geometry(dataset, RIG, 1e-4 if depth == "tiff" else 2e-3)
    check_known_points(dataset, kubric_pixel)
    check_sound(tmp_path / "ours")
    assert np.asarray(Image.open(next(dataset.views()).image_path)).shape == (HEIGHT, WIDTH, 3)
    card = read_card(tmp_path / "ours")
    assert card is not None
    assert card.conventions is not None
    assert "z up" in card.conventions["world"]
    assert card.focal_ratio == pytest.approx((35 / 32, 35 / 24))


def test_a_folder_of_kubrics_scenes(tmp_path: Path) -> None:
    for name, spheres in (("2", SPHERES), ("10", ELSEWHERE)):
        write_kubric(tmp_path / "msn" / name, spheres=spheres)
    done = convert(tmp_path / "msn", tmp_path / "ours")
    assert (done.source_format, done.scenes) == ("kubric", 2)
    dataset = open_dataset(tmp_path / "ours")
    check_geometry(dataset, RIG, 1e-4, SPHERES, scene=0)
    check_geometry(dataset, RIG, 1e-4, ELSEWHERE, scene=1)


def test_kubrics_lens_by_its_matrix_alone_and_off_the_middle(tmp_path: Path) -> None:
    """A principal point of 0.6 widths from the left border is a tenth of the width right of the middle."""
    k = kubric_k()
    k[0, 2] = -0.6
    source = write_kubric(tmp_path / "0", camera={"focal_length": None, "K": k.tolist()})
    convert(source, tmp_path / "ours")
    lens = next(open_dataset(tmp_path / "ours").views()).pinhole()
    assert lens is not None
    assert lens.focal_ratio == pytest.approx((35 / 32, 35 / 24))
    assert lens.principal_offset == pytest.approx((0.1, 0.0))


def test_rays_that_meet_nothing_have_no_depth(tmp_path: Path) -> None:
    source = write_kubric(tmp_path / "0")
    path = source / "depth_00000.tiff"
    depth = np.asarray(Image.open(path)).copy()
    depth[:4] = 1e10
    Image.fromarray(depth).save(path)
    convert(source, tmp_path / "ours")
    found = next(open_dataset(tmp_path / "ours").views()).depth()
    assert np.isinf(found[:4]).all()
    assert np.isfinite(found[4:]).all()


def test_what_is_no_set_of_views_of_a_static_scene_is_said(tmp_path: Path) -> None:
    falling = [{"positions": [[0, 0, 3 - number] for number in range(len(RIG))]}]
    still = {
        key: [value] * len(RIG) for key, value in (("positions", [7, 0, 6]), ("quaternions", [1, 0, 0, 0]))
    }
    done = convert(write_kubric(tmp_path / "a", instances=falling), tmp_path / "ours")
    assert any("objects move from frame to frame" in note for note in done.notes)
    done = convert(write_kubric(tmp_path / "b", camera=still), tmp_path / "still")
    assert any("the camera is static" in note for note in done.notes)


def test_kubrics_folders_that_cannot_be_read(tmp_path: Path) -> None:
    fewer = {"positions": [[0.0, 0, 5]] * 3, "quaternions": [[1.0, 0, 0, 0]] * 3}
    for number, (changes, said) in enumerate(
        (
            ({"camera": fewer}, "expected a camera for each image, found 3"),
            ({"camera": {"quaternions": [[2.0, 0, 0, 0]] * 5}}, "expected unit quaternions"),
            (
                {"camera": {"positions": [[0.0, 0]] * 5}},
                "expected rows of 3 finite numbers under 'positions'",
            ),
            ({"camera": {"focal_length": 50.0}}, "1.5625, and 'K' says 1.09375"),
            ({"camera": {"sensor_width": 0}}, "expected a positive 'focal_length' and 'sensor_width'"),
            (
                {"camera": {"focal_length": None, "K": None}},
                "expected 'focal_length' and 'sensor_width', or 'K'",
            ),
        )
    ):
        source = write_kubric(tmp_path / str(number), **changes)
        with pytest.raises(InputError, match=re.escape(said)):
            convert(source, tmp_path / "ours")
    source = write_kubric(tmp_path / "unscaled", "png")
    (source / "data_ranges.json").unlink()
    with pytest.raises(InputError, match=r"data_ranges\.json: expected the range"):
        convert(source, tmp_path / "ours")
    source = write_kubric(tmp_path / "coloured")
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(source / "segmentation_00001.png")
    with pytest.raises(InputError, match=r"segmentation_00001\.png: expected instance numbers"):
        convert(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_sample_of_movi_is_written_by_the_documented_lines(tmp_path: Path) -> None:
    """The arrays of a sample as MOVi's description has them: 16-bit depth over ``depth_range``, and so on."""
    page = (Path(__file__).parents[3] / "docs" / "renderers.md").read_text(encoding="utf-8")
    (lines,) = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "def write_scene" in block
    )
    names: dict[str, Any] = {}
    exec(lines, names)
    casts = [cast(matrix[:3, 3], kubric_rays(matrix)) for matrix in RIG]
    distances = np.stack([found.distance for found in casts])
    low, high = distances.min(), distances.max()
    quaternions = [Rotation.from_matrix(matrix[:3, :3]).as_quat()[[3, 0, 1, 2]] for matrix in RIG]
    sample = {
        "metadata": {"depth_range": np.array([low, high], np.float32)},
        "video": np.stack([found.colours for found in casts]),
        "segmentations": np.stack([found.ids for found in casts]).astype(np.uint8)[..., None],
        "depth": ((distances - low) / (high - low) * 65535).astype(np.uint16)[..., None],
        "camera": {
            "focal_length": np.float32(FOCAL),
            "sensor_width": np.float32(SENSOR),
            "positions": np.stack([matrix[:3, 3] for matrix in RIG]).astype(np.float32),
            "quaternions": np.stack(quaternions).astype(np.float32),
        },
        "instances": {"positions": np.repeat(SPHERES[:, None, :3], len(RIG), axis=1).astype(np.float32)},
    }
    names["write_scene"](sample, tmp_path / "movi" / "0")
    done = convert(tmp_path / "movi", tmp_path / "ours")
    assert (done.source_format, done.views) == ("kubric", len(RIG))
    assert not [note for note in done.notes if "move" in note]
    check_geometry(open_dataset(tmp_path / "ours"), RIG, 2e-3)


def test_records_are_known_by_name(tmp_path: Path) -> None:
    path = tmp_path / "movi_e-train.tfrecord-00000-of-01024"
    path.write_bytes(b"")
    for source in (tmp_path, path):
        with pytest.raises(InputError, match=r"records of TensorFlow Datasets .* docs/renderers\.md"):
            recognise(source)


# Camera matrices in pixels: BOP and BlenderProc

K = np.array([[88.0, 0, (WIDTH - 1) / 2 + 1.5], [0, 84.0, (HEIGHT - 1) / 2 - 2.0], [0, 0, 1]])
CENTRED = np.array([[88.0, 0, (WIDTH - 1) / 2], [0, 88.0, (HEIGHT - 1) / 2], [0, 0, 1]])


def from_world(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation from the world to an OpenCV camera, from Blender's matrix."""
    turned = matrix @ np.diag([1.0, -1.0, -1.0, 1.0])
    there = np.linalg.inv(turned)
    return there[:3, :3], there[:3, 3]


def pixel(k: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
    def project(view: int, point: np.ndarray) -> np.ndarray:
        rotation, translation = from_world(RIG[view % len(RIG)])
        image = k @ (rotation @ point + translation)
        return image[:2] / image[2]

    return project


def write_bop(
    folder: Path,
    runs: tuple[np.ndarray, ...] = (SPHERES,),
    k: np.ndarray = K,
    scale: float = 0.8,
    world: bool = True,
) -> Path:
    """A chunk of BOP's: runs of pictures with spheres each, listed in another order for each picture."""
    for name in ("rgb", "depth", "mask_visib"):
        (folder / name).mkdir(parents=True)
    cameras, objects = {}, {}
    number = 0
    for spheres in runs:
        for matrix in RIG:
            found = cast(matrix[:3, 3], pixel_rays(matrix, k), spheres)
            rotation, translation = from_world(matrix)
            planar = found.distance * -(pixel_rays(matrix, k) @ matrix[:3, 2])
            Image.fromarray(found.colours).save(folder / "rgb" / f"{number:06d}.png")
            steps = np.rint(1000 * planar / scale).astype(np.uint16)
            Image.fromarray(steps).save(folder / "depth" / f"{number:06d}.png")
            cameras[str(number)] = {"cam_K": k.ravel().tolist(), "depth_scale": scale}
            if world:
                cameras[str(number)] |= {
                    "cam_R_w2c": rotation.ravel().tolist(),
                    "cam_t_w2c": (1000 * translation).tolist(),
                }
            order = np.roll(np.arange(len(spheres)), number % len(RIG))
            objects[str(number)] = []
            for place, sphere in enumerate(order):
                inside = rotation @ spheres[sphere, :3] + translation
                # All spheres are of one model, so that only their places tell them apart.
                objects[str(number)].append(
                    {
                        "obj_id": 5,
                        "cam_R_m2c": rotation.ravel().tolist(),
                        "cam_t_m2c": (1000 * inside).tolist(),
                    }
                )
                seen = Image.fromarray(np.where(found.ids == sphere + 1, 255, 0).astype(np.uint8))
                seen.save(folder / "mask_visib" / f"{number:06d}_{place:06d}.png")
            number += 1
    (folder / "scene_camera.json").write_text(json.dumps(cameras))
    (folder / "scene_gt.json").write_text(json.dumps(objects))
    return folder


def test_bop(tmp_path: Path) -> None:
    """Half a step of depth is 0.4 mm along the optical axis."""
    source = write_bop(tmp_path / "bop" / "train_pbr" / "000000")
    for place in (source, source.parent, source.parent.parent):
        assert recognise(place) == "bop"
    done = convert(source.parent.parent, tmp_path / "ours")
    assert (done.scenes, done.views) == (1, len(RIG))
    dataset = open_dataset(tmp_path / "ours")
    check_geometry(dataset, RIG, 2e-3)
    check_known_points(dataset, pixel(K))
    check_sound(tmp_path / "ours")


def test_a_chunk_of_bop_with_two_arrangements_becomes_two_scenes(tmp_path: Path) -> None:
    source = write_bop(tmp_path / "train_pbr" / "000000", (SPHERES, ELSEWHERE), CENTRED)
    done = convert(source, tmp_path / "ours")
    assert (done.scenes, done.views) == (2, 2 * len(RIG))
    assert any("10 images became 2 scenes" in note for note in done.notes)
    dataset = open_dataset(tmp_path / "ours")
    check_geometry(dataset, RIG, 2e-3, SPHERES, scene=0)
    check_geometry(dataset, RIG, 2e-3, ELSEWHERE, scene=1)
    check_known_points(dataset, pixel(CENTRED))


def test_bops_real_scenes_stand_in_a_world_of_their_own(tmp_path: Path) -> None:
    """Their world is levelled, centred and scaled as that of a capture; BlenderProc's stays."""
    source = write_bop(tmp_path / "test" / "000001")
    content = json.loads((source / "scene_camera.json").read_text())
    turn = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    for entry in content.values():
        entry["cam_R_w2c"] = (np.reshape(entry["cam_R_w2c"], (3, 3)) @ turn).ravel().tolist()
    (source / "scene_camera.json").write_text(json.dumps(content))
    done = convert(source, tmp_path / "ours")
    assert any("levelled: the world was turned by 90" in note for note in done.notes)
    check_sound(tmp_path / "ours")


def test_bops_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image 0: expected the pose of the camera, 'cam_R_w2c'"):
        convert(write_bop(tmp_path / "lm" / "000001", world=False), tmp_path / "ours")
    for split in ("train_pbr", "test"):
        write_bop(tmp_path / "two" / split / "000000")
    with pytest.raises(InputError, match="expected one split of BOP's, found test, train_pbr"):
        convert(tmp_path / "two", tmp_path / "ours")
    source = write_bop(tmp_path / "cut" / "000001")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(source / "mask_visib" / "000002_000000.png")
    with pytest.raises(InputError, match=r"000002_000000\.png: expected a mask of one channel, 80 x 60"):
        convert(source, tmp_path / "ours")


def test_bops_pictures_without_file_are_counted(tmp_path: Path) -> None:
    source = write_bop(tmp_path / "000001")
    (source / "rgb" / "000001.png").unlink()
    done = convert(source, tmp_path / "ours")
    assert done.views == len(RIG) - 1
    assert any("1 cameras have no image" in note for note in done.notes)


# BlenderProc


def write_blenderproc(
    folder: Path,
    camera: Callable[[np.ndarray], tuple[str, Any]],
    depth: str = "depth",
    old: bool = False,
    k: np.ndarray = K,
) -> Path:
    """A run of BlenderProc: the ground is instance 7, of category 0; the spheres are 3, 9 and 4."""
    h5py = pytest.importorskip("h5py", reason="h5py (the extra `hdf5`) is not installed")
    folder.mkdir(parents=True)
    for number, matrix in enumerate(RIG):
        rays = pixel_rays(matrix, k)
        found = cast(matrix[:3, 3], rays)
        ids = np.array([7, 3, 9, 4], np.uint8)[found.ids]
        rows: list[dict[str, Any]] = [
            {"idx": idx, "category_id": category, "name": name}
            for idx, category, name in ((7, 0, "Ground"), (3, 1, "A"), (9, 1, "B"), (4, 2, "C"))
        ]
        planar = found.distance * -(rays @ matrix[:3, 2])
        with h5py.File(folder / f"{number}.hdf5", "w") as file:
            file.create_dataset("colors", data=found.colours, compression="gzip")
            file.create_dataset(
                depth,
                data=(planar if depth == "depth" else found.distance).astype(np.float32),
                compression="gzip",
            )
            if old:
                # Version 1: channel 0 the class, channel 1 the instance; the rows were read from a CSV file.
                classes = np.isin(ids, [3, 9, 4]).astype(np.uint8)
                file.create_dataset("segmap", data=np.stack([classes, ids], axis=-1).astype(np.float64))
                rows = [
                    {key: str(value) for key, value in row.items()} | {"channel_instance": "1"}
                    for row in rows
                ]
                file.create_dataset("segcolormap", data=np.bytes_(json.dumps(rows)))
            else:
                file.create_dataset("instance_segmaps", data=ids, compression="gzip")
                file.create_dataset("instance_attribute_maps", data=np.bytes_(json.dumps(rows)))
            key, content = camera(matrix)
            file.create_dataset(key, data=np.bytes_(json.dumps(content)))
    return folder


def by_matrix(matrix: np.ndarray) -> tuple[str, Any]:
    return "campose", [{"cam2world_matrix": matrix.tolist(), "cam_K": K.tolist()}]


def by_angles(matrix: np.ndarray) -> tuple[str, Any]:
    """Blender's Euler angles XYZ: R = Rz Ry Rx; the angles of view from border to border."""
    angles = Rotation.from_matrix(matrix[:3, :3]).as_euler("xyz").tolist()
    view = {"fov_x": 2 * np.arctan(WIDTH / 2 / 88), "fov_y": 2 * np.arctan(HEIGHT / 2 / 88)}
    return "campose", [{"location": matrix[:3, 3].tolist(), "rotation_euler": angles} | view]


def by_opencv(matrix: np.ndarray) -> tuple[str, Any]:
    rotation, translation = from_world(matrix)
    content = {
        "cam_K": K.ravel().tolist(),
        "cam_R_w2c": rotation.ravel().tolist(),
        "cam_t_w2c": translation.tolist(),
    }
    return "camera_pose", content


@pytest.mark.parametrize(
    ("camera", "depth", "old", "k"),
    [(by_matrix, "distance", False, K), (by_angles, "depth", True, CENTRED), (by_opencv, "depth", False, K)],
    ids=["matrix", "angles", "opencv"],
)
def test_blenderproc(
    tmp_path: Path, camera: Callable[[np.ndarray], tuple[str, Any]], depth: str, old: bool, k: np.ndarray
) -> None:
    source = write_blenderproc(tmp_path / "run", camera, depth, old, k)
    done = convert(source, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views) == ("blenderproc", 1, len(RIG))
    dataset = open_dataset(tmp_path / "ours")
    # The instances 3, 4 and 9 are the spheres 1, 3 and 2.
    check_geometry(dataset, RIG, 1e-4, SPHERES[[0, 2, 1]])
    check_known_points(dataset, pixel(k))
    check_sound(tmp_path / "ours")


def test_blenderprocs_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_blenderproc(tmp_path / "run", lambda matrix: ("object_states", []))
    with pytest.raises(InputError, match=r"0\.hdf5: expected the camera as JSON .* save_world2cam=True"):
        convert(source, tmp_path / "ours")
    (source / "0.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"0\.hdf5: expected an HDF5 file, found a damaged one"):
        convert(source, tmp_path / "ours")
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'objnerf\[hdf5\]'"):
        convert(source, tmp_path / "ours")


@pytest.mark.parametrize("name", ["kubric", "bop", "blenderproc"])
def test_damage_ends_in_a_message_or_a_dataset(
    tmp_path: Path, damage: Callable[[Path, random.Random], None], name: str
) -> None:
    write = {
        "kubric": lambda: write_kubric(tmp_path / "sound", "png"),
        "bop": lambda: write_bop(tmp_path / "sound"),
        "blenderproc": lambda: write_blenderproc(tmp_path / "sound", by_matrix),
    }
    sound = write[name]()
    rng = random.Random(f"damage {name}")
    refused = 0
    for number in range(24):
        there, out = tmp_path / f"there{number}", tmp_path / f"out{number}"
        shutil.copytree(sound, there)
        described = [path for path in there.rglob("*.json") if rng.random() < 0.3]
        files = described or sorted(path for path in there.rglob("*") if path.is_file())
        damage(rng.choice(files), rng)
        try:
            convert(there, out, source_format=name)
        except InputError:
            refused += 1
            assert not out.exists()
    assert refused > 0, "the damage was never noticed: this test tests nothing"
