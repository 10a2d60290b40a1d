"""Scenes by hand are where they were put: every claim is checked in pixels of what Blender rendered."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from generation.api import AssetFolders, compose_scene, place_object, render_scene, shapes
from generation.plan.compose import read_poses, with_cameras
from generation.plan.plan import ScenePlan
from generation.plan.room import RoomPlan, Wall
from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import look_at, project, ray_box, unproject, world_rays
from objnerf.dataset.files import labels_from_mask
from objnerf.errors import InputError

SIDE = 2.0
CAMERAS = np.stack(
    [look_at(np.array(place), np.array([0.0, 0.0, 0.5])) for place in ((9.0, -5.0, 6.0), (-7.0, -7.0, 7.0))]
)
#: Between the two, and lower.
NOVEL = look_at(np.array([1.0, -10.0, 4.5]), np.array([0.0, 0.0, 0.5]))


def _plan(**options):
    cube = place_object("cube", (1.5, 0.0), diagonal=SIDE * 3**0.5, colour=(0.8, 0.2, 0.2))
    ball = place_object("sphere", (-1.5, 0.5), diagonal=SIDE * 3**0.5, colour=(0.2, 0.3, 0.8))
    return compose_scene([cube, ball], CAMERAS, size=(64, 48), samples=1, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the plan and the views of a scene of a cube and a sphere."""
    out = tmp_path_factory.mktemp("composed") / "dataset"
    plan = _plan()
    return out, plan, render_scene(plan, out)


def _expected(pose, lens, cube=(1.5, 0.0), ball=(-1.5, 0.5)):
    """Planar depth and label of every pixel, by hand: a plane, a cube and a sphere of diameter SIDE."""
    origin, directions = world_rays(lens, pose)
    depths = [-origin[2] / directions[..., 2]]
    enter, leave = ray_box(origin - [*cube, SIDE / 2], directions, SIDE / 2)
    depths.append(np.where(enter < leave, enter, np.inf))
    if ball is not None:
        # |o + t d - c| = r, solved for the nearer t.
        away = origin - [*ball, SIDE / 2]
        a, b = (directions**2).sum(-1), directions @ away
        root = b**2 - a * (away @ away - SIDE**2 / 4)
        depths.append(np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf))
    depths = np.stack(depths)
    return depths.min(axis=0), depths.argmin(axis=0)


def _agrees(view, lens, **places):
    depth, labels = _expected(view.pose(), lens, **places)
    same = labels == labels_from_mask(view.mask())
    # An outline's pixel may fall on either side; the cube's edges are bevelled, the sphere's faces flat.
    assert same.mean() > 0.985
    error = np.abs(view.depth()[same] / depth[same] - 1)
    assert np.median(error) < 1e-4
    assert np.quantile(error, 0.98) < 5e-3


def test_objects_stand_where_they_were_put(made):
    _, plan, scene = made
    for view in scene.views:
        _agrees(view, plan.render.intrinsics)


def test_the_files_state_cameras_lens_and_plan(made):
    out, plan, scene = made
    assert np.allclose(scene.poses(), CAMERAS)
    dataset = open_dataset(out)
    assert dataset.card().image_size == (64, 48)
    assert dataset.card().focal_ratio == pytest.approx((350 / 320, 350 / 240))
    stored = ScenePlan.model_validate_json((out / "scenes" / "0000.json").read_bytes())
    assert stored.model_copy(update={"seen": None}) == plan


def test_a_scene_seen_from_elsewhere_agrees_with_the_first_views(made, tmp_path):
    """What a new view shows, moved by its depth into an old view, has the old view's depth and label."""
    out, plan, scene = made
    (tmp_path / "poses.json").write_text(json.dumps([NOVEL.tolist()]))
    words = ["generate", "--remake", str(out / "scenes" / "0000.json"), "--out", str(tmp_path / "again")]
    done = CliRunner().invoke(cli.main, [*words, "--poses", str(tmp_path / "poses.json")])
    assert done.exit_code == 0, done.output
    again = open_dataset(tmp_path / "again").scenes[0]
    assert np.allclose(again.poses(), NOVEL[None])
    (novel,) = again.views
    lens = plan.render.intrinsics
    points = unproject(novel.depth().astype(np.float64), lens, novel.pose()).reshape(-1, 3)
    labels = labels_from_mask(novel.mask()).ravel()
    assert set(labels.tolist()) == {0, 1, 2}
    for old in scene.views:
        pixels, depth = project(points, lens, old.pose())
        column, row = np.rint(pixels).astype(int).T
        inside = (column >= 0) & (column < 64) & (row >= 0) & (row < 48) & (depth > 0)
        seen = old.depth()[row[inside], column[inside]]
        agrees = np.abs(seen - depth[inside]) < 0.02 * depth[inside]
        # The rest is hidden in the old view, by an object.
        assert agrees.mean() > 0.75
        same = labels_from_mask(old.mask())[row[inside], column[inside]] == labels[inside]
        assert same[agrees].mean() > 0.97


def test_a_camera_in_the_midst_of_things_sees_what_is_before_it(made, tmp_path):
    """The cube is behind the camera: not seen, and its silhouette is empty; nothing is an error."""
    _, plan, _ = made
    inside = look_at(np.array([0.2, 0.1, 1.0]), np.array([-1.5, 0.5, 1.0]))
    scene = render_scene(plan, tmp_path / "near", world_from_camera=inside[None])
    assert set(np.unique(labels_from_mask(scene.views[0].mask()))) <= {0, 2}
    stored = ScenePlan.model_validate_json((tmp_path / "near" / "scenes" / "0000.json").read_bytes())
    assert stored.seen[0][0] == 0.0
    assert stored.seen[0][1] > 0.9


def test_an_edited_plan_is_rendered_as_edited(made, tmp_path):
    """One object moved by (0, -1.5), the other taken out."""
    _, plan, _ = made
    cube = plan.objects[0]
    moved = cube.model_copy(update={"position": (1.5, -1.5, 0.0)})
    edited = plan.model_copy(update={"objects": (moved,)})
    for view in render_scene(edited, tmp_path / "edited").views:
        _agrees(view, plan.render.intrinsics, cube=(1.5, -1.5), ball=None)


def test_scenes_of_another_lens_do_not_join_a_dataset(made):
    out, plan, _ = made
    other = compose_scene(list(plan.objects), CAMERAS, size=(48, 48), scene=1, scenes=2)
    with pytest.raises(InputError, match="64x48"):
        render_scene(other, out)


def test_a_thing_may_stand_on_another():
    cube = shapes("cube")[0]
    plan = compose_scene(
        [place_object(cube, (0, 0), diagonal=3**0.5), place_object(cube, (0, 0, 1.0), diagonal=3**0.5)],
        CAMERAS,
    )
    assert [item.position[2] for item in plan.objects] == [0.0, 1.0]
    assert [item.label for item in plan.objects] == [1, 2]


def test_a_colour_for_a_mesh_file_is_seen(data, tmp_path):
    """A cube of one colour by itself and in another colour, on either side: each as it was asked for."""
    folders = AssetFolders(meshes=data / "meshes" / "gltf_linear_factor")
    (cube,) = shapes("furniture", 1, assets=folders)
    own = place_object(cube, (1.8, 0.0), diagonal=3.5)
    blue = place_object(cube, (-1.8, 0.0), diagonal=3.5, colour=(0.2, 0.3, 0.8))
    plan = compose_scene([own, blue], CAMERAS[:1], size=(64, 48), samples=1, passes=("mask", "albedo"))
    (view,) = render_scene(plan, tmp_path / "d", assets=folders).views
    albedo = np.asarray(Image.open(tmp_path / "d" / "albedo" / f"{view.stem}.png"))
    labels = view.labels()
    # linear (.2, .05, .02) in sRGB, as test_own_looks has it
    assert np.median(albedo[labels == 1], axis=0) == pytest.approx((124, 63, 39), abs=4)
    assert np.median(albedo[labels == 2], axis=0) == pytest.approx((51, 76, 204), abs=4)


@pytest.mark.parametrize(
    "look",
    [
        {"colour": (255, 0, 0)},
        {"colour": (0.5, 0.5)},
        {"colour": (0.5, 0.5, float("nan"))},
        {"colour": (0.5, 0.5, 0.5), "roughness": 2.0},
        {"colour": (0.5, 0.5, 0.5), "metallic": -0.1},
    ],
)
def test_a_colour_that_cannot_be_is_refused(look):
    with pytest.raises(InputError, match="expected a colour of three sRGB numbers"):
        place_object("cube", (0, 0), **look)


def test_the_same_call_gives_the_same_plan():
    assert _plan() == _plan()
    assert _plan(seed=1).render.seed != _plan().render.seed


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.diag([1.0, 1.0, -1.0, 1.0]), "of this pose is not one"),
        (np.diag([2.0, 2.0, 2.0, 1.0]), "of this pose is not one"),
        (np.full((4, 4), np.nan), "nan or inf"),
        (look_at(np.array([3.0, 0.0, -1.0]), np.zeros(3)), "expected it above the ground"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(pose, message):
    with pytest.raises(InputError, match=message):
        compose_scene([], pose[None])


def test_a_camera_behind_a_wall_is_refused():
    """A room of 4 × 4 units, counter-clockwise; the camera at x = 3 is outside."""
    corners = [(2.0, -2.0), (2.0, 2.0), (-2.0, 2.0), (-2.0, -2.0)]
    walls = tuple(Wall(start=corners[i], end=corners[(i + 1) % 4]) for i in range(4))
    room = RoomPlan(floor_colour=(0.5, 0.5, 0.5), walls=walls, wall_colour=(1, 1, 1), wall_height=3.0)
    inside, outside = (look_at(np.array([x, 0.0, 1.5]), np.zeros(3)) for x in (1.5, 3.0))
    plan = compose_scene([], inside[None], room=room)
    with pytest.raises(InputError, match=r"camera 0 at \(3, 0\) is behind a wall"):
        with_cameras(plan, outside[None])


@pytest.mark.parametrize("content", ["{}", "[]", "[[1, 2], [3, 4]]", "no JSON", '[["a"]]'])
def test_a_file_without_poses_is_refused(tmp_path, content):
    (tmp_path / "poses.json").write_text(content)
    with pytest.raises(InputError, match=r"poses\.json"):
        read_poses(tmp_path / "poses.json")


def test_poses_alone_mean_nothing(tmp_path):
    done = CliRunner().invoke(cli.main, ["generate", "--poses", "x.json", "--out", str(tmp_path / "d")])
    assert done.exit_code == 2
    assert "--poses needs --remake" in done.output
