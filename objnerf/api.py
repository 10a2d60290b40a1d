"""The part of the public face that needs torch: train a model, load it, score it, render what it has learned.

``from objnerf import train`` is the way in. Each function does what the verb of its name does.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.index import Scene, open_dataset
from objnerf.evaluation import evaluate as evaluation
from objnerf.evaluation.evaluate import Evaluation, OpenedRun
from objnerf.evaluation.scenes import ViewRendering
from objnerf.evaluation.scenes import render_view as render
from objnerf.models.scene import SceneCode
from objnerf.training import loop
from objnerf.training.loop import Outcome, RunOptions
from objnerf.training.recipe_files import resolve_recipe

__all__ = ["Evaluation", "OpenedRun", "Outcome", "evaluate", "load_model", "render_view", "train"]


def train(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    max_steps: int | None = None,
    max_minutes: float | None = None,
    resume: bool = False,
) -> Outcome:
    """Train a scene model on a dataset folder and leave everything about it in a run folder.

    Unlike the command line it does not run the validator first; see `objnerf.validate`.

    Args:
        dataset: folder of the dataset; its ``dataset.yaml`` states near, far, scales and lens.
        out: the run folder; must be new or empty unless ``resume`` is set.
        recipe: name of a recipe of the package, or path of a YAML file; None for "tiny", or with ``resume``
            for the run's own.
        settings: keys of the recipe by their dotted names, such as ``{"batch.scenes": 4}``; they win over
            the recipe and the dataset.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        max_steps: stop after this many steps of the run.
        max_minutes: stop this many minutes after the call.
        resume: continue the run in ``out`` from its last checkpoint.
    Returns:
        Steps done, seconds, PSNR on held-out views in dB, and why training ended.
    Raises:
        InputError: dataset, recipe, settings or run folder cannot be used.
        WorkError: the loss is no longer finite, or the device has too little memory.

    Example::

        outcome = objnerf.train("dataset", "runs/a", settings={"seed": 1}, max_minutes=10)
        print(outcome.step, outcome.psnr)
    """
    overrides = list((settings or {}).items())
    source = None if recipe is None else os.fspath(recipe)
    resolved, run = resolve_recipe(Path(dataset), source, Path(out), overrides, resume=resume)
    options = RunOptions(device=device, resume=resume, max_steps=max_steps, max_minutes=max_minutes)
    return loop.train(Path(dataset), run, resolved, options)


def load_model(run: str | os.PathLike[str], *, device: str = "auto") -> OpenedRun:
    """The trained model of a run folder, ready to be evaluated.

    Args:
        run: a folder that `train` wrote, on this or another machine.
        device: where to compute: "auto", "cpu", "cuda", "cuda:N" or "mps".
    Returns:
        ``.model`` is the network (a ``torch.nn.Module`` in evaluation mode), ``.recipe`` what it was trained
        by, ``.step`` how many steps it has seen.
    Raises:
        InputError: no run, no checkpoint, or one that cannot be used; no such device.

    Example::

        run = objnerf.load_model("runs/a", device="cpu")
        code = run.encode(objnerf.open_dataset("dataset").scenes[0])  # slots, from the first view only
    """
    return evaluation.open_run(Path(run), device)


def evaluate(
    run: str | os.PathLike[str] | OpenedRun,
    dataset: str | os.PathLike[str],
    *,
    scenes: int | None = None,
    manipulations: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Evaluation:
    """Score a run on the scenes of a dataset that it has not seen.

    The dataset that the run was trained on gives the scenes that were held out, any other one all of its
    scenes. Scores are kept in the run folder, so that a second call continues where the first one stopped.

    Args:
        run: a run folder, or what `load_model` returned.
        dataset: folder of the dataset.
        scenes: at most so many scenes, the first ones.
        manipulations: also score moved objects and changed backgrounds.
        seed: of the random start of the slots.
        progress: called with (done, total, note) after each scene.
    Returns:
        ``.mean`` and ``.std`` by metric ("ari", "fg_ari", "nv_ari", "psnr", "ssim", "lpips", …), with None
        where one could not be computed and the reason in ``.reasons``; ``.scenes`` has them scene by scene.
    Raises:
        InputError: run or dataset cannot be used, or there is no scene that the run has not seen.
    """
    opened = run if isinstance(run, OpenedRun) else load_model(run)
    return evaluation.evaluate_run(
        opened,
        open_dataset(dataset),
        limit=scenes,
        manipulations=manipulations,
        seed=seed,
        progress=progress,
    )


def render_view(
    run: OpenedRun,
    scene: Scene | SceneCode,
    world_from_camera: Float[np.ndarray, "4 4"],
    *,
    size: tuple[int, int] | None = None,
    pinhole: Pinhole | None = None,
) -> ViewRendering:
    """Render a scene from any camera, from what a model predicts from the scene's first view.

    Args:
        run: what `load_model` returned.
        scene: a scene of an opened dataset, of which only the first view is read; or what ``run.encode`` made
            of one, perhaps edited (see `objnerf.evaluation.edits`).
        world_from_camera: camera-to-world pose, OpenCV axes, world units.
        size: (width, height) in pixels; None for the recipe's.
        pinhole: the camera's lens; None for that of the dataset that the run was trained on.
    Returns:
        ``.rgb`` in [0, 1] (height, width, 3), ``.depth`` planar in world units, ``.opacity`` and ``.labels``
        (height, width): the slot that each pixel shows, 0 the background.
    Raises:
        InputError: a file of the scene cannot be used.

    Example::

        scene = objnerf.open_dataset("dataset").scenes[0]
        view = objnerf.render_view(run, scene, scene.views[1].pose(), size=(128, 96))
        view.rgb.shape  # (96, 128, 3)
    """
    settings = run.settings()
    if size is not None:
        settings = replace(settings, size=size)
    code = scene if isinstance(scene, SceneCode) else run.encode(scene)
    return render(run.model, code, world_from_camera, settings, pinhole=pinhole)
