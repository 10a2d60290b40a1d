"""Cameras as HTML, GLB, PLY and PNG: each format holds every camera where its pose says, right side up."""

import base64
import gzip
import hashlib
import io
import json
import re
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import Intrinsics, look_at, project
from objnerf.dataset.files import write_matrix
from objnerf.errors import InputError
from objnerf.visualization import read_camera_plot, write_cameras
from objnerf.visualization.camera_plot import CameraPlot, PlottedCamera, box_lines, camera_lines, plot_lines
from objnerf.visualization.html import cameras_div, cameras_figure
from objnerf.visualization.image import _spectator, draw_cameras
from objnerf.visualization.mesh import GLB_FROM_WORLD, WORLD_NODE


@pytest.fixture
def plot(data: Path) -> CameraPlot:
    return read_camera_plot(open_dataset(data / "blocks"), thumbnails=12)


def test_a_plot_has_every_view_with_its_pose(data: Path, plot: CameraPlot) -> None:
    views = list(open_dataset(data / "blocks").views())
    assert [camera.stem for camera in plot.cameras] == [view.stem for view in views]
    for camera, view in zip(plot.cameras, views, strict=True):
        np.testing.assert_array_equal(camera.world_from_camera, view.pose())
    assert plot.obj_scale == 4.5
    assert (plot.intrinsics.width, plot.intrinsics.height) == (160, 120)
    assert plot.cameras[0].thumbnail is not None
    assert plot.cameras[0].thumbnail.shape == (9, 12, 3)


def test_glb_holds_the_poses_to_the_last_digit(plot: CameraPlot, tmp_path: Path) -> None:
    """Read without any library: the file's first chunk is JSON, and its length stands in bytes 12 to 16."""
    content = write_cameras(plot, tmp_path / "cameras.glb").read_bytes()
    (length,) = struct.unpack("<I", content[12:16])
    nodes = json.loads(content[20 : 20 + length])["nodes"]
    by_name = {node["name"]: (number, node) for number, node in enumerate(nodes)}
    world = by_name[WORLD_NODE][1]
    np.testing.assert_array_equal(np.reshape(world["matrix"], (4, 4)).T, GLB_FROM_WORLD)
    for camera in plot.cameras:
        number, node = by_name[camera.stem]
        assert number in world["children"]
        np.testing.assert_array_equal(np.reshape(node["matrix"], (4, 4)).T, camera.world_from_camera)


def test_glb_has_every_camera_at_its_pose(plot: CameraPlot, tmp_path: Path) -> None:
    scene = trimesh.load_scene(write_cameras(plot, tmp_path / "cameras.glb"))
    world, _ = scene.graph.get(WORLD_NODE)
    np.testing.assert_allclose(world, GLB_FROM_WORLD, atol=1e-12)
    for camera in plot.cameras:
        local, _ = scene.graph.get(camera.stem, frame_from=WORLD_NODE)
        np.testing.assert_allclose(local, camera.world_from_camera, atol=2e-6)
        x, y, z = camera.world_from_camera[:3, 3]
        in_glb, _ = scene.graph.get(camera.stem)
        # y is up in GLB: the height of the camera must be its y there.
        np.testing.assert_allclose(in_glb[:3, 3], [x, z, -y], atol=2e-6)
        extras = scene.graph.transforms.edge_data[(WORLD_NODE, camera.stem)]["metadata"]
        assert extras["position"] == [x, y, z]
        assert extras["scene"] == camera.scene


def test_glb_camera_shapes_point_where_the_cameras_look(plot: CameraPlot, tmp_path: Path) -> None:
    scene = trimesh.load_scene(write_cameras(plot, tmp_path / "cameras.glb"))
    for camera in plot.cameras:
        transform, geometry = scene.graph.get(camera.stem, frame_from=WORLD_NODE)
        shape = scene.geometry[geometry].copy().apply_transform(transform)
        centre = shape.bounds.mean(axis=0)
        forward = camera.world_from_camera[:3, 2]
        # The pyramid opens forwards, so that its middle is in front of the camera.
        assert (centre - camera.world_from_camera[:3, 3]) @ forward > 0.3 * plot.frustum_depth


def test_glb_thumbnails_are_upright(make_dataset, tmp_path: Path) -> None:
    """A picture with a white upper half: the texture's v = 1 (trimesh's top) lies at the smaller camera y."""
    root = make_dataset(1, 1)
    scene = trimesh.load_scene(
        write_cameras(read_camera_plot(open_dataset(root), thumbnails=8), tmp_path / "cameras.glb")
    )
    (name,) = [name for name in scene.geometry if name.startswith("image of")]
    rectangle = scene.geometry[name]
    uv = rectangle.visual.uv
    upper = rectangle.vertices[uv[:, 1] > 0.5]
    lower = rectangle.vertices[uv[:, 1] < 0.5]
    assert upper[:, 1].max() < lower[:, 1].min()
    left = rectangle.vertices[uv[:, 0] < 0.5]
    assert left[:, 0].max() < 0


def test_ply_is_in_the_datasets_coordinates(plot: CameraPlot, tmp_path: Path) -> None:
    path = write_cameras(plot, tmp_path / "cameras.ply")
    mesh = trimesh.load_mesh(path)
    for camera in plot.cameras:
        nearest = np.linalg.norm(mesh.vertices - camera.world_from_camera[:3, 3], axis=1).min()
        assert nearest < 0.05 * plot.frustum_depth
    assert mesh.vertices[:, 2].max() > 7.5  # the cameras are 8 above the ground: z is up
    assert mesh.visual.kind == "vertex"
    header = path.read_bytes().split(b"end_header")[0].decode("ascii")
    positions = dict(re.findall(r"comment camera (\S+) at (.+)", header))
    assert positions.keys() == {camera.stem for camera in plot.cameras}
    first = plot.cameras[0]
    assert [float(word) for word in positions[first.stem].split()] == first.world_from_camera[:3, 3].tolist()


def test_png_has_z_up_and_draws_the_cameras_in_their_colours(plot: CameraPlot, tmp_path: Path) -> None:
    picture = np.asarray(draw_cameras(plot, size=(800, 600)))
    assert picture.shape == (600, 800, 3)
    view, spectator = _spectator(plot_lines(plot), 800, 600)
    foot, _ = project(np.zeros(3), view, spectator)
    head, _ = project(np.array([0.0, 0.0, 4.0]), view, spectator)
    assert head[1] < foot[1] - 20  # a greater z is higher up in the picture
    assert abs(head[0] - foot[0]) < 20  # and not askew
    for camera in plot.cameras:
        (u, v), depth = project(camera.world_from_camera[:3, 3], view, spectator)
        assert depth > 0
        assert 0 <= u < 800
        assert 0 <= v < 600
        patch = picture[int(v) - 3 : int(v) + 4, int(u) - 3 : int(u) + 4].reshape(-1, 3)
        assert patch.min() < 160, f"nothing is drawn where {camera.stem} stands"
    path = write_cameras(plot, tmp_path / "cameras.png")
    assert path.read_bytes() == write_cameras(plot, tmp_path / "again.png").read_bytes()


def test_the_roof_of_a_frustum_is_at_the_pictures_upper_edge() -> None:
    """Camera frame: y is down, so the roof must stick out to negative y."""
    outline = camera_lines(Intrinsics(160, 120, 175.0, 175.0), np.eye(4), 1.0, (0, 0, 0))[0].segments
    # Upper edge of the image at depth 1: y = (-0.5 - 59.5) / 175 = -60 / 175 = -0.342857
    lowest, highest = outline[..., 1].max(), outline[..., 1].min()
    assert lowest == pytest.approx(60 / 175)
    assert highest == pytest.approx(-60 / 175 - 0.28 * 120 / 175)


def test_box_has_its_twelve_edges() -> None:
    edges = box_lines(2.0).segments
    assert edges.shape == (12, 2, 3)
    np.testing.assert_allclose(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1), 4.0)
    assert len({tuple(sorted(map(tuple, edge))) for edge in edges.tolist()}) == 12


def test_figure_has_z_up_and_every_camera(plot: CameraPlot) -> None:
    figure = cameras_figure(plot)
    assert figure.layout.scene.camera.up.to_plotly_json() == {"x": 0, "y": 0, "z": 1}
    assert figure.layout.scene.camera.eye.z > 0
    points = np.concatenate(
        [
            np.stack([t.x, t.y, t.z], axis=1)
            for t in figure.data
            if t.type == "scatter3d" and t.mode == "markers"
        ]
    )
    expected = np.array([camera.world_from_camera[:3, 3] for camera in plot.cameras])
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0))
    (pictures,) = [trace for trace in figure.data if trace.type == "mesh3d"]
    assert len(pictures.meta["pictures"]) == len(plot.cameras)


def test_a_page_holds_the_library_once_and_little_else(plot: CameraPlot, tmp_path: Path) -> None:
    page = write_cameras(plot, tmp_path / "cameras.html").read_text()
    assert not re.search(r"<(script|img|link|iframe)[^>]*\b(src|href)=", page)
    assert len(page) < 1_000_000
    div = cameras_div(plot, div_id="other")
    assert 'id="other"' in div
    assert len(div) < 200_000, "a fragment must not hold plotly.js again"


def test_the_largest_page_is_below_two_megabytes(tmp_path: Path) -> None:
    """1000 cameras are the most that `objnerf poses` draws, and 256 the most that have a picture."""
    pose = look_at(np.array([8.123456789, 3.0, 9.0]), np.zeros(3))
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    for count, picture in ((1000, None), (256, noise)):
        cameras = tuple(
            PlottedCamera(f"{n:05d}_sc{n:04d}_img0", n, 0, pose, f"scene {n % 20}", (9, 9, 9), picture)
            for n in range(count)
        )
        plot = CameraPlot("large", cameras, Intrinsics(160, 120, 175.0, 175.0), 4.5)
        assert write_cameras(plot, tmp_path / "large.html").stat().st_size < 2_000_000


def test_the_library_is_what_its_makers_published() -> None:
    """plotly.js-gl3d-dist-min 4.1.1: the version that the Python package's figures are made for."""
    folder = resources.files("objnerf.visualization") / "plotly"
    library = gzip.decompress((folder / "plotly-gl3d.min.js.gz").read_bytes())
    digest = "aab04dcd9c103a92b18723f8c837712fe820f325d0bcd2421e415e8124a75b9f"
    assert hashlib.sha256(library).hexdigest() == digest
    assert b"plotly.js (gl3d - minified) v4.1.1" in library[:100]
    assert "MIT License" in (folder / "LICENSE").read_text()


# Scripts of the tests wait for the drawn scene: a loaded machine takes longer to unpack the library.
_WHEN_DRAWN = """<script>
const whenDrawn = (then) => {
  const waiting = setInterval(() => {
    const plot = document.querySelector('.plotly-graph-div');
    if (!plot._fullLayout?.scene?._scene?.glplot || !plot.querySelector('canvas')) return;
    clearInterval(waiting);
    setTimeout(() => then(plot), 500);
  }, 100);
};
</script>"""

_TURN = """<script>
whenDrawn((plot) => {
  const eye = () => plot._fullLayout.scene._scene.getCamera().eye;
  const before = eye(), canvas = plot.querySelector('canvas'), box = canvas.getBoundingClientRect();
  const fire = (kind, dx, buttons) => canvas.dispatchEvent(new MouseEvent(kind, {
    clientX: box.left + box.width / 2 + dx, clientY: box.top + box.height / 2, buttons, bubbles: true}));
  fire('mousedown', 0, 1);
  let n = 0;
  const timer = setInterval(() => {
    fire('mousemove', 20 * ++n, 1);
    if (n == 8) {
      clearInterval(timer);
      fire('mouseup', 160, 0);
      setTimeout(() => { document.title = 'turned ' + JSON.stringify([before, eye()]); }, 500);
    }
  }, 50);
});
</script></body>"""


def test_html_opens_offline_and_turns_with_the_mouse(plot: CameraPlot, tmp_path: Path, open_page) -> None:
    page = write_cameras(plot, tmp_path / "cameras.html").read_text()
    opened = open_page(page.replace("</body>", _WHEN_DRAWN + _TURN))
    found = re.search(r"<title>turned (.*?)</title>", opened.dom)
    assert found, "the page did not draw its cameras"
    before, after = json.loads(found[1])
    assert abs(before["x"] - after["x"]) > 0.1
    assert after["z"] == pytest.approx(before["z"])  # the world stays upright
    assert opened.errors == ()


_MESH = """<script>
whenDrawn((plot) => {
  const mesh = plot.data.find((trace) => trace.name == 'pictures');
  const { x, y, z, i, j, k, facecolor } = mesh;
  document.title = 'mesh ' + JSON.stringify({ x, y, z, i, j, k, facecolor });
  Plotly.toImage('cameras', { format: 'png', width: 400, height: 300 }).then((source) => {
    document.body.append(Object.assign(new Image(), { id: 'drawn', src: source }));
  });
});
</script></body>"""


def test_pictures_hang_upright_on_the_image_planes(tmp_path: Path, open_page) -> None:
    """A picture of two pixels by two at a camera in the origin: its frame is the world, x right and y down.

    With fx = fy = 2 pixels, 2 x 2 pixels and the principal point in the middle (0.5, 0.5), the picture's rim
    at depth d reaches from -d / 2 to d / 2; the frusta end at an eighth of obj_scale here, d = 1.
    """
    picture = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    camera = PlottedCamera("a_sc0000", 0, 0, np.eye(4), "a", (0, 0, 0), picture)
    plot = CameraPlot("one", (camera,), Intrinsics(2, 2, 2.0, 2.0), 8.0)
    assert plot.frustum_depth == 1.0
    page = write_cameras(plot, tmp_path / "cameras.html").read_text()
    opened = open_page(page.replace("</body>", _WHEN_DRAWN + _MESH))
    found = re.search(r"<title>mesh (.*?)</title>", opened.dom)
    assert found
    mesh = json.loads(found[1])
    vertices = np.stack([mesh["x"], mesh["y"], mesh["z"]], axis=1)
    grid = [(x, y, 1.0) for y in (-0.5, 0.0, 0.5) for x in (-0.5, 0.0, 0.5)]
    np.testing.assert_allclose(vertices, grid)
    corners = vertices[np.stack([mesh["i"], mesh["j"], mesh["k"]], axis=1)]
    for pixel, (row, column) in enumerate(np.ndindex(2, 2)):
        quad = corners[2 * pixel : 2 * pixel + 2].reshape(-1, 3)
        np.testing.assert_allclose(quad.min(axis=0), [column / 2 - 0.5, row / 2 - 0.5, 1])
        np.testing.assert_allclose(quad.max(axis=0), [column / 2, row / 2, 1])
        colour = "rgb({},{},{})".format(*picture[row, column])
        assert mesh["facecolor"][2 * pixel : 2 * pixel + 2] == [colour, colour]
    # The canvas shows them: a saturated red does not occur elsewhere in the figure.
    drawn = re.search(r'<img id="drawn" src="data:image/png;base64,([^"]+)"', opened.dom)
    assert drawn
    canvas = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn[1]))).convert("RGB")).astype(int)
    assert (np.abs(canvas - [255, 0, 0]).max(axis=-1) < 40).sum() > 20


def test_max_views_takes_whole_scenes_from_all_over(make_dataset) -> None:
    dataset = open_dataset(make_dataset(10, 2))
    plot = read_camera_plot(dataset, max_views=7)
    assert [camera.scene for camera in plot.cameras] == [0, 0, 4, 4, 9, 9]
    assert plot.left_out == 14
    assert [camera.order for camera in read_camera_plot(dataset, max_views=1).cameras] == [0]


def test_groups_are_scenes_runs_of_scenes_or_views(make_dataset) -> None:
    dataset = open_dataset(make_dataset(30, 1))
    groups = list(dict.fromkeys(camera.group for camera in read_camera_plot(dataset).cameras))
    assert groups[:2] == ["scenes 0 to 1", "scenes 2 to 3"]
    assert len(groups) == 15
    assert [camera.group for camera in read_camera_plot(dataset, scene=3).cameras] == ["00003_sc0003_img0"]


@pytest.mark.parametrize("suffix", [".html", ".glb", ".ply", ".png"])
def test_a_scene_of_one_view_can_be_drawn(make_dataset, tmp_path: Path, suffix: str) -> None:
    plot = read_camera_plot(open_dataset(make_dataset(1, 1)))
    assert write_cameras(plot, tmp_path / f"one{suffix}").stat().st_size > 500


@pytest.mark.parametrize("suffix", [".html", ".glb", ".ply", ".png"])
@pytest.mark.parametrize("position", [[0.0, 0.0, 0.0], [1e9, -1e9, 1e9], [1e-9, 0.0, 0.0]])
def test_odd_positions_can_be_drawn(tmp_path: Path, suffix: str, position: list[float]) -> None:
    pose = look_at(np.array([3.0, 2.0, 1.0]), np.zeros(3))
    pose[:3, 3] = position
    plot = CameraPlot(
        "odd", (PlottedCamera("a_sc0000", 0, 0, pose, "a", (9, 9, 9)),), Intrinsics(4, 3, 4.0, 4.0), 4.5
    )
    assert write_cameras(plot, tmp_path / f"odd{suffix}").stat().st_size > 500


def test_broken_poses_are_skipped_by_name_or_refused(make_dataset) -> None:
    root = make_dataset(1, 3)
    (root / "00001_sc0000_img1_RT.txt").write_text("1 2 3\n")
    dataset = open_dataset(root)
    with pytest.raises(InputError, match="00001_sc0000_img1_RT"):
        read_camera_plot(dataset)
    plot = read_camera_plot(dataset, skip_broken=True)
    assert [camera.order for camera in plot.cameras] == [0, 2]
    assert [stem for stem, _ in plot.skipped] == ["00001_sc0000_img1"]
    write_matrix(root / "00000_sc0000_img0_RT.txt", np.full((4, 4), np.nan))
    (root / "00002_sc0000_img2_RT.txt").unlink()
    with pytest.raises(InputError, match="none of the 3 views has a usable camera"):
        read_camera_plot(open_dataset(root), skip_broken=True)


def test_what_cannot_be_drawn_is_said(make_dataset, tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(2, 1))
    with pytest.raises(InputError, match="no scene 5; its 2 scenes have the IDs 0 to 1"):
        read_camera_plot(dataset, scene=5)
    with pytest.raises(InputError, match="max_views: expected at least 1, got 0"):
        read_camera_plot(dataset, max_views=0)
    with pytest.raises(InputError, match="obj_scale"):
        read_camera_plot(dataset, obj_scale=float("nan"))
    with pytest.raises(InputError, match=r"\.html, \.glb, \.ply, \.png, found \.obj"):
        write_cameras(read_camera_plot(dataset), tmp_path / "cameras.obj")
    assert list(tmp_path.glob("cameras*")) == []
