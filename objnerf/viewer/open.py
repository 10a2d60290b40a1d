"""Start the viewer that fits a folder: a dataset's or a run's."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from objnerf.dataset.index import Dataset, open_dataset
from objnerf.errors import InputError
from objnerf.viewer.dataset_viewer import DatasetViewer
from objnerf.viewer.viser_scene import start_server

if TYPE_CHECKING:
    from objnerf.evaluation.evaluate import OpenedRun
    from objnerf.viewer.run_viewer import RunViewer


def open_viewer(
    folder: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    scene: int | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    device: str = "auto",
    recipe: str | None = None,
) -> "DatasetViewer | RunViewer":
    """Serve a dataset, or a run and the dataset that it is shown on, to a browser.

    Args:
        folder: a dataset or a run folder.
        dataset: for a run: whose scenes; default: what the run was trained on.
        scene: the scene shown first; default: the first one (of a run: the first that it did not train on).
        host: address to listen at; 127.0.0.1 is reached from this machine alone.
        port: where to listen; the next free one is taken when it is busy.
        device: for a run: where the model computes.
        recipe: says that ``folder`` holds uORF's checkpoints, trained by this recipe.
    Returns:
        The viewer, already serving; ``.url`` says where, ``.stop()`` ends it.
    Raises:
        InputError: neither a dataset nor a run, no such scene, or the extra ``viewer`` is not installed.
    """
    folder = Path(folder)
    if recipe is None and not (folder / "config.yaml").is_file():
        if dataset is not None:
            raise InputError(f"{folder}: --dataset needs a run folder, and this is not one (no config.yaml)")
        opened = open_dataset(folder)
        first = _checked_scene(opened, scene, min(opened.scenes))
        return DatasetViewer(start_server(host, port), opened, first)

    # torch is heavy, and looking at a dataset does without.
    from objnerf.evaluation.evaluate import open_run
    from objnerf.viewer.run_viewer import RunViewer

    given = None if dataset is None else open_dataset(dataset)
    run = open_run(folder, device, recipe=recipe, dataset=given)
    unseen = () if run.facts is None else run.facts.held_out_scenes
    opened = _own_dataset(folder, run) if given is None else given
    known = [id_ for id_ in unseen if id_ in opened.scenes]
    first = _checked_scene(opened, scene, known[0] if known else min(opened.scenes))
    return RunViewer(start_server(host, port), run, opened, first)


def _own_dataset(folder: Path, run: "OpenedRun") -> Dataset:
    """What a run was trained on."""
    if run.facts is None:
        raise InputError(f"{folder}: uORF's checkpoints don't name their dataset; give it with --dataset")
    place = Path(run.facts.path)
    if not place.is_dir():
        raise InputError(
            f"{folder}: its training set, {place}, does not exist; give a dataset with --dataset"
        )
    return open_dataset(place)


def _checked_scene(dataset: Dataset, scene: int | None, default: int) -> int:
    if scene is None:
        return default
    if scene not in dataset.scenes:
        ids = sorted(dataset.scenes)
        raise InputError(
            f"{dataset.root}: there is no scene {scene}; its scene IDs run from {ids[0]} to {ids[-1]}"
        )
    return scene
