"""Figures of a trained model on scenes that it never saw.

The first view of a scene is encoded; all its views are rendered from what the model saw in that one. Each
scene's scores are kept in the run folder under a key of everything that they depend on, so that a second
evaluation goes on where the first one stopped.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.card import CARD_NAME, read_card
from objnerf.dataset.index import Dataset, Scene
from objnerf.dataset.untrusted import Unreadable, read_bytes
from objnerf.errors import InputError
from objnerf.evaluation import metrics
from objnerf.evaluation.edits import EDIT_FIGURES, score_edits
from objnerf.evaluation.metrics import Lpips, MetricUnavailable
from objnerf.evaluation.scenes import (
    RenderSettings,
    SceneImages,
    ViewRendering,
    encode_images,
    encode_scene,
    read_scene,
    render_view,
)
from objnerf.evaluation.segmentation import BACKGROUND, reference_true_labels, true_labels
from objnerf.models.config import UorfConfig
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.models.uorf_checkpoint import load_uorf_checkpoint
from objnerf.training.checkpoints import checkpoint_path, load_run, read_state, scene_geometry
from objnerf.training.processes import choose_device
from objnerf.training.recipe import DatasetFacts, Recipe
from objnerf.training.recipe_files import load_recipe, read_run_config
from objnerf.version import __version__

_log = logging.getLogger(__name__)

#: Raised when the meaning of a figure changes, so that scores kept by an older version are not taken over.
SCORES_VERSION = 1

#: File in a run folder that keeps the scores of single scenes, one JSON object a line.
SCORES_FILE = Path("evaluation") / "scenes.jsonl"

#: Samples a ray that images for people get at most; more changes nothing that is seen.
GALLERY_SAMPLES = 64

#: Segmentation of the input view and of the novel ones; then images of the novel views and of the input
#: view; then segmentation as uORF computes it.
FIGURES = (
    *("ari", "fg_ari", "nv_ari", "nv_fg_ari"),
    *("psnr", "ssim", "lpips", "input_psnr", "input_ssim", "input_lpips"),
    *("ref_ari", "ref_fg_ari", "ref_nv_ari"),
)


@dataclass(frozen=True)
class SceneScores:
    """The figures of one scene; null ones have a reason."""

    scene: int
    views: int
    figures: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)
    objects: int | None = None
    """Objects that the input view's mask shows; None without a mask."""
    slots_used: int = 0
    """Foreground slots that own at least one pixel of the input view."""

    def as_dict(self) -> dict[str, Any]:
        """The scene as it stands in the JSON result: its figures beside its id."""
        return {
            "scene": self.scene,
            "views": self.views,
            "objects": self.objects,
            "slots_used": self.slots_used,
            **self.figures,
            "reasons": self.reasons,
        }


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation: figures of all scenes, and what they were computed with."""

    scenes: tuple[SceneScores, ...]
    settings: dict[str, Any]
    figures: tuple[str, ...] = FIGURES

    @property
    def scene_ids(self) -> list[int]:
        """The scenes, in the order of the evaluation."""
        return [scores.scene for scores in self.scenes]

    @property
    def mean(self) -> dict[str, float | None]:
        """Mean over the scenes that have the figure; None where none has it."""
        return self._summary()[0]

    @property
    def std(self) -> dict[str, float | None]:
        """Standard deviation over the same scenes (n in the denominator)."""
        return self._summary()[1]

    @property
    def count(self) -> dict[str, int]:
        """How many scenes have the figure."""
        return self._summary()[2]

    @property
    def reasons(self) -> dict[str, str]:
        """Why figures are missing: in all scenes, or in some of them (then with their number)."""
        found: dict[str, str] = {}
        for key in self.figures:
            missing = [
                scene.reasons.get(key, "not computed") for scene in self.scenes if scene.figures[key] is None
            ]
            if missing:
                reason, times = Counter(missing).most_common(1)[0]
                partly = len(missing) < len(self.scenes)
                found[key] = f"in {times} of {len(self.scenes)} scenes: {reason}" if partly else reason
        return found

    def as_dict(self) -> dict[str, Any]:
        """The result as it is written to JSON: plain numbers and nulls, no NaN."""
        mean, std, count = self._summary()
        return {
            "mean": mean,
            "std": std,
            "count": count,
            "reasons": self.reasons,
            "scenes": [scene.as_dict() for scene in self.scenes],
            "settings": self.settings,
        }

    def text(self) -> str:
        """The summary for people: one line a figure, reasons below."""
        mean, std, count = self._summary()
        lines = [f"{len(self.scenes)} scenes of {self.settings.get('dataset', 'the dataset')}"]
        for key in self.figures:
            value, spread = mean[key], std[key]
            if value is not None and spread is not None:
                digits = 2 if key.endswith("psnr") else 3
                some = "" if count[key] == len(self.scenes) else f"  ({count[key]} scenes)"
                lines.append(f"  {key:<16} {value:8.{digits}f} ± {spread:.{digits}f}{some}")
            else:
                lines.append(f"  {key:<16}     null")
        by_reason: dict[str, list[str]] = {}
        for key, reason in self.reasons.items():
            by_reason.setdefault(reason, []).append(key)
        lines += [f"  {', '.join(keys)}: {reason}" for reason, keys in by_reason.items()]
        return "\n".join(lines)

    def _summary(self) -> tuple[dict[str, float | None], dict[str, float | None], dict[str, int]]:
        return metrics.mean_and_spread([scene.figures for scene in self.scenes], self.figures)


def render_settings(recipe: Recipe, *, seed: int = 0) -> RenderSettings:
    """How a recipe's model is evaluated: at its finest stage's size, with its samples for evaluation.

    Args:
        recipe: of the run.
        seed: of the slots' random start.
    """
    return RenderSettings(
        size=recipe.stages[-1].size,
        samples=recipe.sampling.eval_samples,
        input_size=recipe.input_size,
        # uORF evaluates without the box; a recipe that never lifts it keeps it here too.
        locality=recipe.locality.until is None,
        chunk_rays=recipe.sampling.chunk,
        seed=seed,
        own_intrinsics=recipe.scale.own_intrinsics,
    )


def scenes_to_evaluate(facts: DatasetFacts | None, dataset: Dataset) -> tuple[list[int], str]:
    """Which scenes of a dataset a run has not seen, and in words why these.

    The dataset that the run was trained on gives its held-out scenes, any other one all of its scenes. A
    dataset is known again by its scene ids and numbers of views, not by its path, so that a run and its
    data may move; one whose ``dataset.yaml`` says that it is a test split is never taken for it.

    Raises:
        InputError: it is the training set, and no scene of it was held out.
    """
    if facts is None:
        return list(dataset.scenes), "all scenes, for the weights don't tell what they were trained on"
    if not _trained_on(facts, dataset):
        return list(dataset.scenes), "all scenes of a dataset that the run was not trained on"
    if facts.held_out_views:
        return list(
            dataset.scenes
        ), f"the last {facts.held_out_views} views of its scene, which were held out of training"
    if not facts.held_out_scenes and len(dataset.scenes) == 1:
        return list(dataset.scenes), "the only scene, which the run has learned from, with no view to spare"
    if not facts.held_out_scenes:
        raise InputError(
            f"{dataset.root} is the run's training set, and the run has no held-out scenes (held_out in its "
            "recipe), so there is nothing to evaluate; give a test set"
        )
    return list(facts.held_out_scenes), "the scenes that were held out of training"


def _trained_on(facts: DatasetFacts, dataset: Dataset) -> bool:
    known = sorted((*facts.train_scenes, *facts.held_out_scenes))
    card = dataset.card()
    is_test = card is not None and card.split == "test"
    return not is_test and list(dataset.scenes) == known and dataset.n_views == facts.views


def unseen_views(facts: DatasetFacts | None, dataset: Dataset) -> Dataset:
    """A dataset without the views that a run learned from, where it held views out instead of scenes.

    The first view of a scene stays, which is the input view.
    """
    if facts is None or not facts.held_out_views or not _trained_on(facts, dataset):
        return dataset
    count = facts.held_out_views
    return dataset.with_views(lambda views: (views[0], *views[len(views) - count :]))


@dataclass(frozen=True)
class OpenedRun:
    """A trained model and where it came from."""

    path: Path
    model: SceneModel
    recipe: Recipe
    facts: DatasetFacts | None
    """What it was trained on; None for weights of uORF, which don't tell."""
    step: int | None
    """Steps that the weights have seen; None where that is not known."""

    def described(self) -> dict[str, Any]:
        """What a result says about the run; the folder by its name alone, for runs move."""
        name = self.path.resolve().name
        return {"run": name, "recipe": self.recipe.name, "step": self.step, "reference": self.facts is None}

    def settings(self, root: Path | None = None, *, seed: int = 0) -> RenderSettings:
        """How views are rendered when they are scored.

        Args:
            root: the dataset that they are of, whose lens is taken where it states one; None for the run's.
            seed: of the slots' random start.
        Raises:
            InputError: the dataset's ``dataset.yaml`` cannot be used.
        """
        settings = render_settings(self.recipe, seed=seed)
        lens = None if root is None else _lens_of(root, self)
        return replace(settings, stored_azimuth=self.facts is None, pinhole=lens)

    def encode(self, scene: Scene, *, seed: int = 0) -> SceneCode:
        """What the model makes of a scene's first view; of the scene's files, only that view's are read.

        Raises:
            InputError: one of them is missing or cannot be used.
        """
        return encode_scene(self.model, scene, self.settings(scene.views[0].root, seed=seed))

    def gallery_settings(self, root: Path | None = None, *, seed: int = 0, width: int = 64) -> RenderSettings:
        """How images for people are rendered: like scored ones, but at least ``width`` pixels wide."""
        settings = self.settings(root, seed=seed)
        factor = max(1, -(-width // settings.size[0]))
        size = (settings.size[0] * factor, settings.size[1] * factor)
        return replace(settings, size=size, samples=min(settings.samples, GALLERY_SAMPLES))


def _lens_of(root: Path, run: OpenedRun) -> Pinhole | None:
    """The lens that a dataset's ``dataset.yaml`` states, where it is not the run's.

    None as well where it states what the training set stated: the run was given other intrinsics, by an
    option or its recipe.
    """
    card = read_card(root)
    if card is None or card.focal_ratio is None:
        return None
    stated, trained = Pinhole(card.focal_ratio), Pinhole(run.recipe.scale.focal_ratio)
    if stated.same_as(trained):
        return None
    training_set_ratio = None if run.facts is None else run.facts.focal_ratio
    replaced = training_set_ratio is not None and stated.same_as(Pinhole(training_set_ratio))
    _log.warning(
        "%s states the focal ratio %.4g, %.4g, and the run was trained with %.4g, %.4g: %s",
        *(root / CARD_NAME, *stated.focal_ratio, *trained.focal_ratio),
        "that of the run is used, since the training set stated the same"
        if replaced
        else "that of the dataset is used",
    )
    return None if replaced else stated


def open_run(
    run: Path, device: str = "auto", *, recipe: str | None = None, dataset: Dataset | None = None
) -> OpenedRun:
    """Load a run folder's newest checkpoint, or a folder of uORF's checkpoints.

    Args:
        run: a run folder, made on this or another machine.
        device: where to compute.
        recipe: says that ``run`` holds uORF's ``latest_net_Encoder.pth``, …, trained by this recipe.
        dataset: its ``dataset.yaml`` says what that recipe leaves open (scales and lens).
    Raises:
        InputError: no run, no checkpoint, or one that cannot be used; no such device or recipe.
    """
    where = choose_device(device)
    if recipe is not None:
        return _open_reference(run, where, recipe, dataset)
    config = read_run_config(run)
    model, _ = load_run(run, where)
    return OpenedRun(run, model, config.recipe, config.dataset, read_state(checkpoint_path(run, "last")).step)


def _open_reference(run: Path, device: torch.device, source: str, dataset: Dataset | None) -> OpenedRun:
    recipe = load_recipe(source, dataset_scale=None if dataset is None else dataset.stated_scale())
    if not isinstance(recipe.model, UorfConfig):
        raise InputError(
            f"--recipe {source}: expected a recipe of a uORF model, which describes the networks"
        )
    model = load_uorf_checkpoint(
        run,
        scene_geometry(recipe),
        num_slots=recipe.model.num_slots,
        attn_iter=recipe.model.attn_iter,
        fixed_locality=recipe.model.fixed_locality,
        translation_quirk=recipe.model.reference_translation_quirk,
    )
    return OpenedRun(run, model.to(device).eval(), recipe, None, None)


def evaluate_run(
    run: OpenedRun,
    dataset: Dataset,
    *,
    limit: int | None = None,
    manipulations: bool = False,
    seed: int = 0,
    keep: bool = True,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score a run on the scenes of a dataset that it has not seen, and keep the scores in the run folder.

    Args:
        limit: at most so many scenes, the first ones.
        manipulations: also the manipulation test.
        seed: of the slots' random start.
        keep: read scores of an earlier call from the run folder, and add new ones.
        progress: called after each scene.
    Raises:
        InputError: see ``scenes_to_evaluate`` and ``evaluate``.
    """
    scenes, chosen = scenes_to_evaluate(run.facts, dataset)
    return evaluate(
        run.model,
        unseen_views(run.facts, dataset),
        scenes[:limit],
        run.settings(dataset.root, seed=seed),
        manipulations=manipulations,
        described={**run.described(), "chosen": chosen},
        keep=run.path / SCORES_FILE if keep else None,
        progress=progress,
    )


def evaluate(
    model: SceneModel,
    dataset: Dataset,
    scenes: Sequence[int],
    settings: RenderSettings,
    *,
    manipulations: bool = False,
    described: Mapping[str, Any] | None = None,
    keep: Path | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score a model on scenes of a dataset.

    Args:
        model: in evaluation mode, on the device that is to be used.
        dataset: an opened dataset.
        scenes: ids of the scenes to look at.
        settings: how views are rendered.
        manipulations: also score moved objects and changed backgrounds, where the dataset has them.
        described: what else ``settings`` of the result should say (run, recipe, …).
        keep: file that scores of single scenes are read from and added to; None keeps nothing.
        progress: called after each scene.
    Returns:
        Scores of all scenes, in the order of ``scenes``.
    Raises:
        InputError: no scenes, or a file of theirs that is missing or cannot be read.
    """
    if not scenes:
        raise InputError(f"{dataset.root}: no scenes to evaluate")
    device = next(iter(model.parameters())).device
    lpips, no_lpips = _load_lpips(str(device))
    figures = FIGURES + (EDIT_FIGURES if manipulations else ())
    kept = _read_scores(keep) if keep is not None else {}
    fixed = _fixed_key(model, settings, lpips is not None, figures)
    results = []
    for number, scene_id in enumerate(scenes):
        scene = dataset.scenes[scene_id]
        key = _scene_key(fixed, dataset, scene, manipulations)
        scores = kept.get(key)
        if scores is None:
            scores = score_scene(model, scene, settings, lpips=lpips, no_lpips=no_lpips)
            if manipulations:
                found, reasons = score_edits(
                    model, dataset, scene, settings, _picture_scores(lpips, no_lpips)
                )
                scores.figures.update(found)
                scores.reasons.update(reasons)
            if keep is not None:
                _append_scores(keep, key, scores)
        results.append(scores)
        progress(number + 1, len(scenes), f"scene {scene_id}")
    described = {
        "objnerf_version": __version__,
        "dataset": dataset.root.name,
        **(described or {}),
        "render": asdict(settings),
        "lpips": "AlexNet 0.1" if lpips is not None else None,
        "scenes": list(scenes),
    }
    return Evaluation(tuple(results), described, figures)


def score_scene(
    model: SceneModel, scene: Scene, settings: RenderSettings, *, lpips: Lpips | None, no_lpips: str = ""
) -> SceneScores:
    """All figures of one scene but those of the manipulation test.

    Args:
        lpips: the perceptual distance; None where it cannot be computed, for the reason ``no_lpips``.
    """
    images = read_scene(scene, settings)
    code = encode_images(model, images, settings)
    renderings = [
        render_view(model, code, pose, settings, pinhole=pinhole, reference=mask is not None)
        for pose, pinhole, mask in zip(images.world_from_camera, images.pinholes, images.masks, strict=True)
    ]
    return scores_of_renderings(images, renderings, lpips=lpips, no_lpips=no_lpips)


def scores_of_renderings(
    images: SceneImages,
    renderings: Sequence[ViewRendering],
    *,
    lpips: Lpips | None = None,
    no_lpips: str = "",
) -> SceneScores:
    """Figures of a scene from its true and its rendered views, in the same order; the first is the input."""
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    reasons: dict[str, str] = {}

    def put(key: str, compute: Callable[[], float]) -> None:
        try:
            figures[key] = compute()
        except MetricUnavailable as reason:
            reasons[key] = str(reason)

    picture_scores = _picture_scores(lpips, no_lpips)
    novel = range(1, len(renderings))
    for name, score in picture_scores.items():
        put(f"input_{name}", lambda score=score: score(renderings[0].rgb, images.images[0]))  # type: ignore[misc]
        put(
            name,
            lambda score=score: _mean([score(renderings[view].rgb, images.images[view]) for view in novel]),  # type: ignore[misc]
        )

    def ari(view: int) -> float:
        return metrics.ari(_true_labels(images, view), renderings[view].labels)

    def fg_ari(view: int) -> float:
        return metrics.fg_ari(_true_labels(images, view), renderings[view].labels, BACKGROUND)

    def ref_ari(view: int, foreground: bool = False) -> float:
        predicted = renderings[view].reference_labels
        labels, background = reference_true_labels(_mask(images, view))
        if predicted is None:
            raise MetricUnavailable("the view was not rendered by uORF's rule")
        return metrics.fg_ari(labels, predicted, background) if foreground else metrics.ari(labels, predicted)

    put("ari", lambda: ari(0))
    put("fg_ari", lambda: fg_ari(0))
    put("nv_ari", lambda: _mean([ari(view) for view in novel]))
    put("nv_fg_ari", lambda: _mean([fg_ari(view) for view in novel]))
    put("ref_ari", lambda: ref_ari(0))
    put("ref_fg_ari", lambda: ref_ari(0, foreground=True))
    # uORF keeps the last view's value of what it meant to average.
    put("ref_nv_ari", lambda: _mean([ref_ari(view) for view in novel[-1:]]))

    objects = None if images.masks[0] is None else len(np.unique(true_labels(images.masks[0]))) - 1
    return SceneScores(
        scene=images.id,
        views=len(renderings),
        figures=figures,
        reasons=reasons,
        objects=objects,
        slots_used=int((np.unique(renderings[0].labels) != BACKGROUND).sum()),
    )


def _mask(images: SceneImages, view: int) -> np.ndarray:
    mask = images.masks[view]
    if mask is None:
        raise MetricUnavailable("a view has no mask (…_mask.png)")
    return mask


def _true_labels(images: SceneImages, view: int) -> np.ndarray:
    return true_labels(_mask(images, view))


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise MetricUnavailable("the scene has no novel view")
    return float(np.mean(values))


def _load_lpips(device: str) -> tuple[Lpips | None, str]:
    try:
        return Lpips(device), ""
    except MetricUnavailable as reason:
        return None, str(reason)


def _picture_scores(
    lpips: Lpips | None, no_lpips: str
) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """The three scores of an image against the true one, by name."""

    def distance(image: np.ndarray, target: np.ndarray) -> float:
        if lpips is None:
            raise MetricUnavailable(no_lpips or "LPIPS was not asked for")
        return lpips(image, target)

    return {"psnr": metrics.psnr, "ssim": metrics.ssim, "lpips": distance}


def _fixed_key(model: SceneModel, settings: RenderSettings, has_lpips: bool, figures: Sequence[str]) -> str:
    """What the scores of all scenes depend on: weights, settings and what is computed."""
    digest = hashlib.sha256()
    plain = {key: value for key, value in asdict(settings).items() if key != "chunk_rays"}
    digest.update(
        json.dumps([SCORES_VERSION, plain, model.geometry.model_dump(), has_lpips, list(figures)]).encode()
    )
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _scene_key(fixed: str, dataset: Dataset, scene: Scene, manipulations: bool) -> str:
    """Key of a scene's scores: what is common to all, and the content of the scene's own files."""
    digest = hashlib.sha256(f"{fixed} {scene.id}".encode())
    paths = []
    for view in scene.views:
        suffixes = view.companions if manipulations else view.companions & {"_RT.txt", "_mask.png"}
        paths += [view.image_path, *(view.root / f"{view.stem}{suffix}" for suffix in sorted(suffixes))]
    if manipulations and scene.id in dataset.movements:
        paths.append(dataset.movements[scene.id])
    for path in paths:
        try:
            content = read_bytes(path)
        except Unreadable as problem:
            raise InputError(f"{path}: cannot be read ({problem})") from problem
        digest.update(f"{path.name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def _read_scores(path: Path) -> dict[str, SceneScores]:
    """Scores kept earlier, by key. A line that is broken (an interrupted writer's) does not count."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    kept = {}
    for line in lines:
        try:
            content = json.loads(line)
            kept[content["key"]] = SceneScores(**content["scores"])
        except (ValueError, TypeError, KeyError):
            _log.info("%s: skipped a line that does not hold scores", path)
    return kept


def _append_scores(path: Path, key: str, scores: SceneScores) -> None:
    """Add a line; a run folder that cannot be written to only costs the resuming."""
    line = json.dumps({"key": key, "scores": asdict(scores)}, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            # An interrupted writer may have left half a line.
            file.seek(0, 2)
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode() + b"\n")
    except OSError as error:
        _log.warning("%s: the scores cannot be cached for a later run (%s)", path, error.strerror or error)
