"""The viewer on runs: slots are found where they are, and edits change what is drawn."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import Intrinsics, project
from objnerf.errors import InputError
from objnerf.evaluation.scenes import encode_scene
from objnerf.viewer import open_viewer
from objnerf.viewer.run_viewer import BackgroundRenderer, Edits, RunViewer, draw, slot_clouds
from objnerf.viewer.viser_scene import start_server

CENTRES = {1: (-2.0, 0.0, 1.0), 2: (2.0, 1.0, 1.0)}
COLOURS = {0: (128, 128, 128), 1: (255, 0, 0), 2: (0, 255, 0)}


@pytest.fixture
def encoded(run, make_ring):
    """Model, code of the first scene, its poses and how to draw."""
    dataset = open_dataset(make_ring())
    scene = dataset.scenes[0]
    settings = replace(run.gallery_settings(dataset.root, width=64), samples=96)
    return run.model, encode_scene(run.model, scene, settings), scene.poses(), settings


def test_slots_are_found_where_they_are(encoded) -> None:
    model, code, poses, settings = encoded
    clouds = slot_clouds(model, code, poses, settings)
    assert sorted(clouds) == [0, 1, 2]  # slot 3 is empty
    for slot, centre in CENTRES.items():
        surface = clouds[slot].centre + clouds[slot].positions
        distances = np.linalg.norm(surface - centre, axis=1)
        # Cameras see surfaces: points lie on the ball, as well as 96 samples over 14 units can say.
        assert np.abs(distances - 1).max() < 0.35
        assert np.median(clouds[slot].colours, axis=0).tolist() == list(COLOURS[slot])
    assert np.abs((clouds[0].centre + clouds[0].positions)[:, 2]).max() < 0.4


def _centre_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray | None:
    members = (np.abs(picture.astype(int) - colour) < 60).all(axis=-1)
    return np.argwhere(members).mean(axis=0)[::-1] if members.any() else None


def test_a_moved_object_is_drawn_where_it_was_moved_to(encoded) -> None:
    model, code, poses, settings = encoded
    offset = (1.5, -1.0, 0.5)
    moved = Edits(offsets={1: offset}).applied_to(code)
    picture = draw(model, moved, poses[0], settings, float(np.linalg.norm(poses[0][:3, 3])))
    width, height = settings.size
    intrinsics = Intrinsics.from_focal_ratio(model.geometry.focal_ratio, width, height)
    expected, _ = project(np.array(CENTRES[1]) + offset, intrinsics, poses[0])
    found = _centre_of(picture, COLOURS[1])
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_a_hidden_object_is_gone_and_nothing_else(encoded) -> None:
    model, code, poses, settings = encoded
    distance = float(np.linalg.norm(poses[0][:3, 3]))
    hidden = draw(model, Edits(hidden=frozenset({1})).applied_to(code), poses[0], settings, distance)
    assert _centre_of(hidden, COLOURS[1]) is None
    assert _centre_of(hidden, COLOURS[2]) is not None
    nothing = draw(model, Edits(hidden=frozenset({0, 1, 2})).applied_to(code), poses[0], settings, distance)
    assert nothing.max() < 5


def test_the_scene_stays_between_near_and_far_when_the_user_steps_back(encoded) -> None:
    """From twice as far, where the dataset's far = 20 would end before the scene does."""
    model, code, poses, settings = encoded
    usual = float(np.linalg.norm(poses[0][:3, 3]))
    far_off = poses[0].copy()
    far_off[:3, 3] *= 2.2
    picture = draw(model, code, far_off, settings, usual)
    for slot in (1, 2):
        assert _centre_of(picture, COLOURS[slot]) is not None
    close = poses[0].copy()
    close[:3, 3] *= 0.45
    assert draw(model, code, close, settings, usual).max() > 200


def test_a_run_is_served_and_edited(run, make_ring, serve) -> None:
    dataset = open_dataset(make_ring(scenes=2))
    viewer = serve(RunViewer(start_server("127.0.0.1", 8241), run, dataset, 0))
    assert "2 objects found" in viewer._panel.caption.content
    before = viewer.drawing()
    viewer.hide(1)
    without = viewer.drawing()
    assert _centre_of(before, COLOURS[1]) is not None
    assert _centre_of(without, COLOURS[1]) is None
    assert not viewer._controls[1].visible
    assert viewer._switches[1].value is False
    viewer.move(2, (0.0, -2.0, 0.0))
    np.testing.assert_allclose(
        viewer._controls[2].position, viewer.clouds[2].centre + np.array([0, -2, 0]), atol=1e-6
    )
    assert np.abs(viewer.drawing().astype(int) - without).max() > 100
    viewer.reset()
    np.testing.assert_array_equal(viewer.drawing(), before)
    viewer.hide(0)
    assert viewer.drawing()[-1, 0].max() < 5  # no floor
    viewer.show(1)
    assert viewer.scene == 1
    assert viewer.edits == Edits()


def test_dragging_the_arrows_edits_the_scene(run, make_ring, serve) -> None:
    viewer = serve(RunViewer(start_server("127.0.0.1", 8242), run, open_dataset(make_ring()), 0))
    viewer._controls[1].position = viewer.clouds[1].centre + np.array([1.0, 0.5, 0.0])
    viewer._dragged(1, None)
    np.testing.assert_allclose(viewer.edits.offsets[1], (1.0, 0.5, 0.0), atol=1e-6)
    viewer._switches[2].value = False
    viewer._switched(2, None)
    assert viewer.edits.hidden == {2}


def test_a_scene_that_cannot_be_read_is_named_in_the_panel(run, make_ring, serve) -> None:
    root = make_ring(scenes=2)
    (root / "00004_sc0001_img0.png").write_bytes(b"no picture")
    viewer = serve(RunViewer(start_server("127.0.0.1", 8243), run, open_dataset(root), 0))
    viewer.show(1)
    assert "00004_sc0001_img0.png" in viewer._panel.caption.content
    assert viewer.clouds == {}
    viewer.show(0)
    assert "2 objects found" in viewer._panel.caption.content


def test_the_renderer_takes_the_latest_request_and_survives_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go = threading.Event(), threading.Event()
    drawn = []

    def render(request: str) -> None:
        begun.set()
        go.wait(10)
        if request == "bad":
            raise ValueError("no")
        drawn.append(request)

    renderer = BackgroundRenderer(render)
    renderer.submit("first")
    assert begun.wait(10)
    for request in ("second", "third", "bad"):
        renderer.submit(request)
    go.set()
    assert renderer.wait(10)
    assert drawn == ["first"]  # second and third were overtaken by the last, which failed
    assert "could not be drawn" in caplog.text
    renderer.submit("fourth")
    assert renderer.wait(10)
    renderer.stop()
    assert drawn == ["first", "fourth"]


def test_runs_that_cannot_be_shown_are_refused(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("not: a run\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        open_viewer(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="no such folder"):
        open_viewer(folder)
