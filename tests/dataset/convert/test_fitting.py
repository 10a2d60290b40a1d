"""The world of a capture becomes ours: level, centred, at the usual distance, and what is sound stays."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import main
from objnerf.dataset import Intrinsics, open_dataset, read_card
from objnerf.dataset.cameras import look_at
from objnerf.dataset.convert import WorldSteps, convert
from objnerf.dataset.convert.fitting import fitted, with_settings
from objnerf.dataset.convert.ground import find_ground
from objnerf.dataset.convert.posed import Blob, PosedScene, PosedScenes, PosedView
from objnerf.dataset.files import write_depth, write_image
from objnerf.dataset.rigid import Similarity, fit_similarity


def _poses_around(
    count: int, rng: np.random.Generator, roll: float = 3.0, distance: float = 12.39
) -> np.ndarray:
    """Poses around the origin, as a hand would hold them: level to within ``roll`` degrees."""
    poses = []
    for turn in 2 * np.pi * np.arange(count) / count:
        position = distance * np.array([math.cos(turn) * 0.8, math.sin(turn) * 0.8, 0.6])
        pose = look_at(position * rng.uniform(0.95, 1.05), rng.normal(0, 0.1, 3))
        angle = math.radians(rng.normal(0, roll)) if roll else 0.0
        turned = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        pose[:3, :2] = pose[:3, :2] @ turned
        poses.append(pose)
    return np.array(poses)


def _scenes(poses: np.ndarray, world: str = "free", points=None) -> PosedScenes:
    image = Blob(Path("none.png"))
    views = tuple(PosedView(str(number), image, pose) for number, pose in enumerate(poses))
    return PosedScenes((PosedScene("0", views, points),), Intrinsics(64, 48, 70.0, 70.0), world=world)


def _poses(scenes: PosedScenes) -> np.ndarray:
    return np.stack([view.world_from_camera for view in scenes.views])


def _random_similarity(rng: np.random.Generator) -> Similarity:
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    return Similarity(float(np.exp(rng.uniform(-4, 4))), rotation, rng.normal(0, 5, 3))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_any_world_is_brought_back(seed: int) -> None:
    """A capture in any similar world comes back level to a few degrees, centred and at its distance; and what
    was done is one similarity."""
    rng = np.random.default_rng(seed)
    poses = _poses_around(20, rng)
    turned = _random_similarity(rng).apply(poses)
    found = _poses(fitted(_scenes(turned), WorldSteps(True, True, True)))
    fit = fit_similarity(turned, found)
    assert fit.is_exact()
    back = fit_similarity(poses, found).similarity
    assert math.degrees(math.acos(min(1.0, back.rotation[2, 2]))) < 4
    assert back.scale == pytest.approx(1, rel=0.05)
    assert np.linalg.norm(back.shift) < 0.5


def test_a_sound_world_stays_to_the_last_digit() -> None:
    poses = _poses_around(12, np.random.default_rng(0), roll=0.0)
    done = fitted(_scenes(poses), WorldSteps())
    np.testing.assert_array_equal(_poses(done), poses)
    assert done.notes == ()


def test_a_world_that_means_something_changes_only_when_asked() -> None:
    poses = _random_similarity(np.random.default_rng(1)).apply(_poses_around(12, np.random.default_rng(0)))
    stated = _scenes(poses, world="stated")
    assert fitted(stated, WorldSteps()) is stated
    assert with_settings(stated) is stated
    scaled = _poses(fitted(stated, WorldSteps(scale=True)))
    np.testing.assert_array_equal(scaled[:, :3, :3], poses[:, :3, :3])
    ratios = np.linalg.norm(scaled[:, :3, 3], axis=1) / np.linalg.norm(poses[:, :3, 3], axis=1)
    np.testing.assert_allclose(ratios, ratios[0])


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        (WorldSteps(level=False), "levelled"),
        (WorldSteps(centre=False), "centred"),
        (WorldSteps(scale=False), "scaled"),
    ],
)
def test_every_step_can_be_left_out(steps: WorldSteps, missing: str) -> None:
    similarity = Similarity(0.1, np.diag([1.0, -1.0, -1.0]), np.array([3.0, 0.0, 1.0]))
    poses = similarity.apply(_poses_around(12, np.random.default_rng(0)))
    done = fitted(_scenes(poses), steps)
    said = {note.split(":")[0].split(" ")[0] for note in done.notes}
    assert said == {"levelled", "centred", "scaled"} - {missing}


def _two(first: Similarity, second: Similarity) -> PosedScenes:
    stacks = [similarity.apply(_poses_around(9, np.random.default_rng(2))) for similarity in (first, second)]
    scenes = tuple(_scenes(poses).scenes[0] for poses in stacks)
    return PosedScenes(scenes, Intrinsics(64, 48, 70.0, 70.0), world="free")


def _distances(scenes: PosedScenes) -> list[float]:
    stacks = [np.stack([view.world_from_camera for view in scene.views]) for scene in scenes.scenes]
    return [float(np.median(np.linalg.norm(poses[:, :3, 3], axis=1))) for poses in stacks]


def test_every_scene_has_a_world_of_its_own() -> None:
    rng = np.random.default_rng(7)
    done = fitted(_two(_random_similarity(rng), _random_similarity(rng)), WorldSteps())
    assert _distances(done) == pytest.approx([12.39, 12.39], rel=1e-6)
    assert any(note.startswith("levelled") and "(likewise in 1 more)" in note for note in done.notes)


def test_scenes_that_seem_to_have_one_unit_keep_one() -> None:
    """Cameras at 0.1 and 0.11 of the usual distance: both are scaled by one over 0.105, the median."""
    sizes = [Similarity(scale, np.eye(3), np.zeros(3)) for scale in (0.1, 0.11)]
    before = _distances(_two(*sizes))
    after = _distances(fitted(_two(*sizes), WorldSteps()))
    assert after[1] / after[0] == pytest.approx(1.1)
    assert after[0] / before[0] == pytest.approx(12.39 / np.median(before))


def test_the_card_says_what_is_known_of_the_world() -> None:
    poses = _poses_around(12, np.random.default_rng(0))
    assert "z up" in (fitted(_scenes(poses), WorldSteps()).world_words or "")
    lying = Similarity(1.0, np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.zeros(3)).apply(poses)
    left = fitted(_scenes(lying), WorldSteps(level=False))
    assert "not known to be z" in (left.world_words or "")


def test_cameras_that_look_everywhere_are_not_centred() -> None:
    directions = [np.array([math.cos(a), math.sin(a), 0.1]) for a in range(9)]
    outward = np.array([look_at(0.1 * direction, 5 * direction) for direction in directions])
    done = fitted(_scenes(outward), WorldSteps())
    assert any("not centred" in note and "away from each other" in note for note in done.notes)


def test_settings_fit_the_cameras() -> None:
    """They follow the distance of the cameras, and the box lies between near and far."""
    done = with_settings(
        fitted(_scenes(0.01 * _poses_around(12, np.random.default_rng(0))), WorldSteps(scale=False))
    )
    card = done.card
    assert card is not None
    distance = float(np.median(np.linalg.norm(_poses(done)[:, :3, 3], axis=1)))
    assert card.nss_scale == pytest.approx(7 * distance / 12.39, rel=1e-3)
    assert 0 < card.near < distance - 0.5 * card.obj_scale < distance + card.obj_scale < card.far


def _ground_points(rng: np.random.Generator, tilt: float = 5.0) -> np.ndarray:
    """A floor at z = -1 that is tilted a little, a box on it, and stray points."""
    floor = np.concatenate([rng.uniform(-6, 6, (600, 2)), np.zeros((600, 1))], axis=1)
    floor[:, 2] = -1 + np.tan(np.radians(tilt)) * floor[:, 0] + rng.normal(0, 0.02, 600)
    box = rng.uniform([-1, -1, -1], [1, 1, 1.5], (300, 3))
    stray = rng.uniform(-8, 8, (60, 3))
    return np.concatenate([floor, box, stray])


def test_the_ground_is_found_below_what_is_looked_at() -> None:
    ground = find_ground(_ground_points(np.random.default_rng(0)), np.zeros(3), 12.0)
    assert ground is not None
    expected = np.array([-math.sin(math.radians(5)), 0, math.cos(math.radians(5))])
    assert ground.normal @ expected > math.cos(math.radians(0.5))
    # The foot of the origin: 1 · cos 5° below along the normal.
    np.testing.assert_allclose(ground.point, -math.cos(math.radians(5)) * expected, atol=0.05)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.random.default_rng(0).uniform(-3, 3, (500, 3))])
def test_no_ground_in_no_points_or_in_a_cloud(points: np.ndarray) -> None:
    assert find_ground(points, np.zeros(3), 12.0) is None


def test_ground_that_was_found_becomes_zero() -> None:
    rng = np.random.default_rng(0)
    points = _ground_points(rng)
    done = fitted(_scenes(_poses_around(16, rng, roll=1.0), points=lambda: points), WorldSteps())
    (note,) = (note for note in done.notes if note.startswith("centred"))
    assert "the ground was tilted by" in note
    moved = done.scenes[0].points
    assert moved is not None
    assert np.abs(moved()[:600, 2]).mean() < 0.05


def _capture(root: Path, similarity: Similarity) -> Path:
    poses = similarity.apply(_poses_around(9, np.random.default_rng(4)))
    frames = []
    for number, pose in enumerate(poses):
        write_image(root / f"{number}.png", np.full((48, 64, 3), 20 * number, np.uint8))
        write_depth(root / f"{number}.npy", np.full((48, 64), similarity.scale * 12.0, np.float32))
        matrix = (pose @ np.diag([1, -1, -1, 1])).tolist()
        frames.append(
            {"file_path": f"{number}.png", "depth_file_path": f"{number}.npy", "transform_matrix": matrix}
        )
    (root / "transforms.json").write_text(
        json.dumps({"fl_x": 70, "w": 64, "h": 48, "depth_unit_scale_factor": 1.0, "frames": frames})
    )
    return root


def test_points_that_nerfstudio_leaves_show_the_ground(tmp_path: Path) -> None:
    source = _capture(tmp_path / "in", Similarity(1.0, np.eye(3), np.zeros(3)))
    points = _ground_points(np.random.default_rng(0))
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    rows = "".join(f"{x} {y} {z}\n" for x, y, z in points)
    (source / "sparse_pc.ply").write_text(header + rows)
    content = json.loads((source / "transforms.json").read_text())
    (source / "transforms.json").write_text(json.dumps(content | {"ply_file_path": "sparse_pc.ply"}))
    done = convert(source, tmp_path / "ours")
    assert any("on a ground that" in note for note in done.notes)
    (source / "sparse_pc.ply").write_bytes(b"ply\ndamaged")
    done = convert(source, tmp_path / "again")
    assert not any("on a ground that" in note for note in done.notes)


def test_depth_is_scaled_with_the_world(tmp_path: Path) -> None:
    source = _capture(tmp_path / "in", Similarity(0.05, np.eye(3), np.zeros(3)))
    convert(source, tmp_path / "ours")
    dataset = open_dataset(tmp_path / "ours")
    after = dataset.scenes[0].poses()[:, :3, 3]
    frames = json.loads((source / "transforms.json").read_text())["frames"]
    before = np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]
    scale = np.linalg.norm(after[0] - after[4]) / np.linalg.norm(before[0] - before[4])
    assert scale > 15
    for view in dataset.views():
        np.testing.assert_allclose(view.depth(), 0.05 * 12 * scale, rtol=1e-5)


def test_between_other_formats_a_world_stays_and_is_not_called_ours(tmp_path: Path) -> None:
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    source = _capture(tmp_path / "in", Similarity(0.05, rotation, np.array([1.0, 2.0, 3.0])))
    convert(source, tmp_path / "colmap", target_format="colmap")
    card = read_card(tmp_path / "colmap")
    assert card is not None
    assert card.conventions is not None
    assert "not known" in card.conventions["world"]
    assert card.near is None
    # So that the next conversion, into ours, still knows that it has to be levelled.
    done = convert(tmp_path / "colmap", tmp_path / "ours")
    assert any(note.startswith("levelled") for note in done.notes)
    again = convert(tmp_path / "ours", tmp_path / "there", target_format="nerfstudio")
    assert not any(
        note.startswith("levelled") for note in convert(tmp_path / "there", tmp_path / "back").notes
    )
    assert again.views == 9
    np.testing.assert_allclose(
        open_dataset(tmp_path / "back").scenes[0].poses(), open_dataset(tmp_path / "ours").scenes[0].poses()
    )


def test_the_verb_says_every_step_and_takes_each_back(tmp_path: Path) -> None:
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    source = _capture(tmp_path / "in", Similarity(0.05, rotation, np.array([1.0, 2.0, 3.0])))
    runner = CliRunner()
    result = runner.invoke(main, ["convert", str(source), str(tmp_path / "ours")])
    assert result.exit_code == 0, result.output
    for said in ("note: levelled", "note: centred", "note: scaled by", "dataset.yaml: near"):
        assert said in result.output
    kept = ["--no-level", "--no-centre", "--no-scale"]
    result = runner.invoke(main, ["convert", str(source), str(tmp_path / "kept"), *kept])
    assert result.exit_code == 0, result.output
    assert "levelled" not in result.output
    (view, *_) = open_dataset(tmp_path / "kept").views()
    frame = json.loads((source / "transforms.json").read_text())["frames"][0]
    np.testing.assert_allclose(view.pose(), np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1]))
