"""Pages and pictures: everything inside one file, nothing fetched, nothing forgotten."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import open_dataset
from objnerf.evaluation import evaluate as evaluation
from objnerf.evaluation import report
from objnerf.evaluation.clock import AFTER_TRAINING, DemoClock
from objnerf.evaluation.demo import Step, curves_div, demo_page, demo_summary, read_metrics
from objnerf.evaluation.edits import EDIT_FIGURES
from objnerf.evaluation.gallery import EditPictures, edit_pictures, gallery_sheet, scene_gallery, turntable


@pytest.fixture
def result(model, balls_dataset, settings):
    found = open_dataset(balls_dataset)
    return evaluation.evaluate(model, found, [0, 1], settings, described={"run": "<balls & more>", "step": 7})


@pytest.fixture
def gallery(model, balls_dataset, settings):
    return scene_gallery(model, open_dataset(balls_dataset).scenes[0], settings)


def _fetched(page: str) -> list[str]:
    """Addresses that a browser would load to show the page (its scripts' own text left out)."""
    markup = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page)
    return [
        x for x in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup) if not x.startswith("#")
    ]


def test_gallery_shows_input_novel_view_and_every_slot(gallery, model) -> None:
    assert len(gallery.views) == 2
    assert [slot.slot for slot in gallery.slots] == [0, 1, 2]
    for view in gallery.views:
        assert np.abs(view.true.astype(int) - view.rendered.astype(int)).max() <= 1
        np.testing.assert_array_equal(view.true_mask, view.segmentation)
    # A slot alone: its own colour, and paper around.
    red = gallery.slots[1].picture.reshape(-1, 3)
    assert {tuple(pixel) for pixel in red.tolist()} >= {(255, 255, 255), (230, 51, 51)}
    sheet = gallery_sheet([gallery, gallery])
    assert sheet.width > 9 * 96
    assert sheet.height > 2 * 72


def test_edits_show_a_move_a_copy_a_deletion_and_another_floor(model, balls_dataset, settings) -> None:
    scenes = open_dataset(balls_dataset).scenes
    shown = edit_pictures(model, scenes[0], scenes[2], settings)
    assert shown is not None
    pictures = dict(shown.pictures)
    assert len(pictures) == 5
    slot = int(next(name for name in pictures if name.endswith("deleted")).split()[1])
    colour = np.rint(np.array(model.balls[slot - 1].colour) * 255)

    def seen(picture: np.ndarray) -> np.ndarray:
        return np.abs(picture - colour).max(-1) < 3

    there, moved, copied, deleted, elsewhere = (seen(picture) for picture in pictures.values())
    assert there.sum() > 20
    assert deleted.sum() == 0
    assert np.nonzero(moved)[1].mean() > np.nonzero(there)[1].mean() + 2  # to the right
    assert (copied[there]).all()
    assert copied.sum() > 1.3 * there.sum()
    assert (elsewhere == there).all()
    floor = list(pictures.values())[-1][-1, 0]
    np.testing.assert_allclose(floor, scenes[2].views[0].image()[-1, 0], atol=2)


def test_turntable_begins_at_the_input_view(model, balls_dataset, settings) -> None:
    scene = open_dataset(balls_dataset).scenes[0]
    frames = turntable(model, scene, settings, frames=4)
    assert [frame.shape for frame in frames] == [(36, 96, 3)] * 4
    picture = scene.views[0].image()
    assert np.abs(frames[0][:, :48].astype(int) - picture).max() <= 1
    np.testing.assert_array_equal(frames[0][:, 48:], scene.views[0].mask())
    address = report.inline_animation(frames)
    assert address.startswith("data:image/gif;base64,")


def test_page_of_an_evaluation_is_whole_and_offline(result, gallery) -> None:
    page = report.evaluation_page(result, [gallery])
    assert all(address.startswith("data:") for address in _fetched(page))
    assert page.count("data:image/png;base64,") == 2 * 4 + 3
    for key in evaluation.FIGURES:
        assert f"<code>{key}</code>" in page
    assert "<balls" not in page
    assert "&lt;balls &amp; more&gt;" in page


def test_every_figure_has_a_meaning() -> None:
    assert set(report.MEANINGS) == {*evaluation.FIGURES, *EDIT_FIGURES}
    assert set(report.HEADLINES) <= set(evaluation.FIGURES)


def test_json_refuses_nan(tmp_path) -> None:
    report.write_json(tmp_path / "a.json", {"x": None, "y": 1.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_inlined_pictures_keep_flat_colours() -> None:
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[:3] = (0, 0, 255)
    address = report.inline(mask, smooth=False)
    import base64
    import io

    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert image.size == (192, 144)
    assert {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()} == {(0, 0, 0), (0, 0, 255)}


_METRICS = [
    {"step": 10, "loss/colour": 0.5, "psnr/train": 8.0, "stage": "only", "seconds": 1.5},
    {"step": 20, "loss/colour": 0.25, "psnr/train": 12.0, "stage": "only", "seconds": 3.0},
    {"step": 20, "psnr/held_out": 11.0, "attempt": 0},
]


def test_curves_are_read_as_they_were_written(tmp_path) -> None:
    lines = [json.dumps(entry) for entry in _METRICS] + ['{"step": 30, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    curves = read_metrics(tmp_path)
    assert curves.seconds == 3.0
    assert curves.figures["loss/colour"] == [(10, 0.5), (20, 0.25)]
    assert curves.figures["psnr/held_out"] == [(20, 11.0)]
    assert "stage" not in curves.figures
    assert "held-out views" in curves_div(curves)
    assert read_metrics(tmp_path / "nowhere").figures == {}


_VERDICT = {
    "ok": True,
    "counts": {"scenes": 3, "views": 9, "errors": 0, "warnings": 1},
    "checked": ["FILE-NAME"],
    "findings": [{"id": "X-Y", "severity": "W", "count": 2, "message": "odd & <strange>", "fix": "fix it"}],
    "suggested": {"near": 6.0},
}
_STEPS = [Step("generate", 65.0, "objnerf generate --out x"), Step("train", 130.0, "objnerf train x")]


@pytest.fixture
def demo(result, gallery, balls_dataset, tmp_path) -> str:
    """A page of the demo."""
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(entry) for entry in _METRICS))
    found = open_dataset(balls_dataset)
    edits = EditPictures(1, (("slot 1 deleted", gallery.views[0].true),))
    turning = [gallery.views[0].true] * 2
    return demo_page(found, _VERDICT, tmp_path, result, [gallery], _STEPS, edits=edits, turning=turning)


def test_page_of_the_demo_is_whole_and_offline(demo: str) -> None:
    assert "slot 1 deleted" in demo
    assert "data:image/gif" in demo
    assert all(address.startswith("data:") for address in _fetched(demo))
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"(?s)<script\b.*?</script>", "", demo))
    assert len(ids) == len(set(ids))
    assert {"results", "dataset", "cameras", "validation", "training", "steps"} <= set(ids)
    assert "odd &amp; &lt;strange&gt;" in demo
    assert "2 min 10 s" in demo
    assert len(demo) < 2_000_000


def test_page_of_the_demo_draws_its_figures_in_a_browser(demo: str, open_page) -> None:
    opened = open_page(demo)
    assert opened.errors == ()
    assert 'class="gl-container"' in opened.dom
    assert opened.dom.count('class="js-line"') >= 2


def test_summary_of_the_demo(result, tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(entry) for entry in _METRICS))
    summary = json.loads(json.dumps(demo_summary(_VERDICT, tmp_path, result, _STEPS), allow_nan=False))
    assert summary["ok"] is True
    assert summary["evaluation"]["mean"]["ari"] == pytest.approx(1.0)
    assert summary["training"]["last"]["psnr/held_out"] == 11.0
    assert summary["seconds"] == {"generate": 65.0, "train": 130.0}


def test_demo_clock_adds_up_over_calls(tmp_path) -> None:
    path = tmp_path / "demo.json"
    clock = DemoClock(path, 10.0)
    assert clock.training_minutes() == 10.0 - AFTER_TRAINING
    with clock.step("generate"):
        pass
    clock.seconds["generate"] = 120.0
    with pytest.raises(KeyboardInterrupt), clock.step("generate"):
        raise KeyboardInterrupt  # an interrupted step counts too
    later = DemoClock(path, 10.0)
    assert later.seconds["generate"] == pytest.approx(120.0, abs=1.0)
    assert later.training_minutes() == pytest.approx(8.0 - AFTER_TRAINING, abs=0.1)
    assert later.left.startswith("2 min 0")
    path.write_text("[]")
    assert DemoClock(path, 10.0).seconds == {}
    assert DemoClock(path, 1.0).training_minutes() == 0.5
