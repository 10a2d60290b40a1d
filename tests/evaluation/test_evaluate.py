"""Whole evaluations: on scenes that the model understands perfectly, and where things are missing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from objnerf import __version__
from objnerf.dataset import DatasetCard, open_dataset, write_card
from objnerf.dataset.files import mask_from_labels, read_mask, write_image
from objnerf.errors import InputError
from objnerf.evaluation import evaluate as evaluation
from objnerf.evaluation.edits import EDIT_FIGURES
from objnerf.training.recipe import DatasetFacts


@pytest.fixture
def dataset(balls_dataset):
    return open_dataset(balls_dataset)


def test_a_perfect_model_scores_one(model, dataset, settings) -> None:
    result = evaluation.evaluate(model, dataset, [0, 1, 2], settings)
    for key in ("ari", "fg_ari", "nv_ari", "nv_fg_ari"):
        assert result.mean[key] == pytest.approx(1.0), key
        assert result.std[key] == pytest.approx(0.0), key
    # The pictures were stored in 8 bits: an error of at most half a step of 1/255.
    assert result.mean["psnr"] > 50
    assert result.mean["input_psnr"] > 50
    assert result.mean["ssim"] > 0.99
    assert [scene.objects for scene in result.scenes] == [2, 2, 2]
    assert [scene.slots_used for scene in result.scenes] == [2, 2, 2]


def test_result_is_strict_json_with_reasons_for_nulls(model, dataset, settings) -> None:
    result = evaluation.evaluate(model, dataset, [0, 2], settings, described={"run": "mine"})
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert list(content) == ["mean", "std", "count", "reasons", "scenes", "settings"]
    assert list(content["mean"]) == list(content["std"]) == list(evaluation.FIGURES)
    assert [scene["scene"] for scene in content["scenes"]] == [0, 2]
    for scene in content["scenes"]:
        assert set(evaluation.FIGURES) < set(scene)
        nulls = {key for key in evaluation.FIGURES if scene[key] is None}
        assert nulls == set(scene["reasons"])
    missing = {key for key, value in content["mean"].items() if value is None}
    assert missing == set(content["reasons"])
    assert content["settings"]["run"] == "mine"
    assert content["settings"]["scenes"] == [0, 2]
    assert content["settings"]["objnerf_version"] == __version__
    assert "mean" not in result.text()
    assert all(key in result.text() for key in evaluation.FIGURES)


def test_mean_over_all_novel_views_against_the_last_one_alone(model, dataset, settings) -> None:
    # The masks of view 1 are exchanged for nonsense: ours falls, the reference's figure does not notice.
    view = dataset.scenes[0].views[1]
    height, width = settings.size[1], settings.size[0]
    nonsense = np.arange(height * width).reshape(height, width) % 3
    write_image(view.mask_path, mask_from_labels(nonsense))
    scores = evaluation.score_scene(model, dataset.scenes[0], settings, lpips=None).figures
    assert scores["nv_ari"] == pytest.approx(0.5, abs=0.02)  # the mean of about 0 and of 1
    assert scores["ref_nv_ari"] == pytest.approx(1.0, abs=0.01)
    assert scores["ari"] == pytest.approx(1.0)


def test_scene_without_masks_has_pictures_scored(model, dataset, settings) -> None:
    for view in dataset.scenes[1].views:
        view.mask_path.unlink()
    dataset = open_dataset(dataset.root)
    result = evaluation.evaluate(model, dataset, [0, 1], settings)
    assert result.count["ari"] == 1
    assert result.count["psnr"] == 2
    assert result.scenes[1].figures["nv_ari"] is None
    assert "has no mask" in result.scenes[1].reasons["nv_ari"]
    assert result.reasons["nv_ari"].startswith("in 1 of 2 scenes: ")


def test_scene_with_one_view_has_no_novel_one(model, dataset, settings) -> None:
    for view in dataset.scenes[0].views[1:]:
        view.image_path.unlink()
        view.mask_path.unlink()
    scores = evaluation.score_scene(model, open_dataset(dataset.root).scenes[0], settings, lpips=None)
    assert scores.figures["ari"] == pytest.approx(1.0)
    for key in ("psnr", "nv_ari", "nv_fg_ari", "ref_nv_ari"):
        assert scores.figures[key] is None
        assert scores.reasons[key] == "the scene has no novel view"


def test_scene_without_objects(model, dataset, settings) -> None:
    path = dataset.scenes[0].views[0].mask_path
    write_image(path, np.full_like(read_mask(path), 64))
    scores = evaluation.score_scene(model, dataset.scenes[0], settings, lpips=None)
    assert scores.objects == 0
    assert scores.figures["fg_ari"] is None
    assert "no pixel of the view shows an object" in scores.reasons["fg_ari"]
    assert "single grey level" in scores.reasons["ref_ari"]


class _NoRendering(Exception):
    pass


def _never_render(*_args, **_options):
    raise _NoRendering


def test_scores_are_taken_over_from_an_earlier_call(model, dataset, settings, tmp_path, monkeypatch) -> None:
    keep = tmp_path / "kept" / "scenes.jsonl"
    first = evaluation.evaluate(model, dataset, [0, 1], settings, keep=keep)
    # An interrupted writer leaves half a line; it costs that line alone.
    with keep.open("a") as file:
        file.write('{"key": "abc", "sco')
    seen = []
    more = evaluation.evaluate(
        model, dataset, [0, 1, 2], settings, keep=keep, progress=lambda *a: seen.append(a)
    )
    assert [scores.figures for scores in more.scenes[:2]] == [scores.figures for scores in first.scenes]
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(evaluation, "render_view", _never_render)
    again = evaluation.evaluate(model, dataset, [0, 1, 2], settings, keep=keep)
    assert again.as_dict() == more.as_dict()

    # What a score depends on makes it new: the settings, the weights, the scene's own files.
    with pytest.raises(_NoRendering):
        evaluation.evaluate(model, dataset, [0], replace(settings, samples=97), keep=keep)
    image = dataset.scenes[0].views[2].image()
    write_image(dataset.scenes[0].views[2].image_path, image // 2)
    with pytest.raises(_NoRendering):
        evaluation.evaluate(model, dataset, [0], settings, keep=keep)
    model.weight.data += 1
    with pytest.raises(_NoRendering):
        evaluation.evaluate(model, dataset, [1], settings, keep=keep)


def test_a_folder_that_cannot_be_written_to_costs_only_the_resuming(
    model, dataset, settings, tmp_path, caplog
):
    keep = tmp_path / "file" / "scenes.jsonl"
    keep.parent.write_text("a file where the folder should be")
    result = evaluation.evaluate(model, dataset, [0], settings, keep=keep)
    assert result.mean["ari"] == pytest.approx(1.0)
    assert "cannot be cached" in caplog.text


def test_no_scenes_is_an_error(model, dataset, settings) -> None:
    with pytest.raises(InputError, match="no scenes to evaluate"):
        evaluation.evaluate(model, dataset, [], settings)


def _facts(dataset, held_out: tuple[int, ...], train: tuple[int, ...]) -> DatasetFacts:
    return DatasetFacts(
        path="/another/machine/balls",
        scenes=len(dataset.scenes),
        views=dataset.n_views,
        image_size=(48, 36),
        train_scenes=train,
        held_out_scenes=held_out,
    )


def test_held_out_scenes_of_the_training_set(dataset) -> None:
    scenes, why = evaluation.scenes_to_evaluate(_facts(dataset, (2,), (0, 1)), dataset)
    assert scenes == [2]
    assert "held out" in why
    with pytest.raises(InputError, match="has no held-out scenes"):
        evaluation.scenes_to_evaluate(_facts(dataset, (), (0, 1, 2)), dataset)


def test_all_scenes_of_another_dataset(dataset) -> None:
    facts = _facts(dataset, (3,), (0, 1, 2))
    assert evaluation.scenes_to_evaluate(facts, dataset)[0] == [0, 1, 2]
    # A test set of the same size is known by its dataset.yaml.
    write_card(dataset.root, DatasetCard(split="test"))
    facts = _facts(dataset, (2,), (0, 1))
    assert evaluation.scenes_to_evaluate(facts, open_dataset(dataset.root))[0] == [0, 1, 2]


def test_manipulation_test_of_a_perfect_model(model, dataset, settings) -> None:
    result = evaluation.evaluate(model, dataset, [0, 1, 2], settings, manipulations=True)
    assert result.figures == evaluation.FIGURES + EDIT_FIGURES
    assert result.mean["moved_psnr"] > 50
    assert result.mean["moved_ssim"] > 0.99
    assert result.mean["ref_moved_psnr"] > 50
    # The other floor's colour comes through the encoder's small 8-bit picture.
    assert result.mean["changed_psnr"] > 45


def test_a_wrong_movement_shows(model, dataset, settings) -> None:
    dataset.movements[0].write_text("-0.8\n-0.9\n")
    result = evaluation.evaluate(model, dataset, [0], settings, manipulations=True)
    assert result.mean["moved_psnr"] < 25
    assert result.mean["changed_psnr"] > 45


def test_manipulation_test_that_is_not_there(model, dataset, settings) -> None:
    for view in dataset.scenes[0].views:
        view.companion("_changed.png").unlink()
    dataset.movements[0].unlink()
    found = open_dataset(dataset.root)
    result = evaluation.evaluate(model, found, [0], settings, manipulations=True)
    assert result.mean["moved_psnr"] is None
    assert "_movement.txt" in result.reasons["moved_psnr"]
    assert "…_changed.png" in result.reasons["changed_psnr"]
    assert result.mean["psnr"] > 50


@pytest.mark.parametrize("content", ["", "1.0", "1 2 3", "a b", "nan 1"])
def test_broken_movement_is_an_input_error(model, dataset, settings, content) -> None:
    dataset.movements[0].write_text(content)
    with pytest.raises(InputError, match=r"000_movement\.txt: expected two"):
        evaluation.evaluate(model, dataset, [0], settings, manipulations=True)
