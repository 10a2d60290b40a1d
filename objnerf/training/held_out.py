"""What a run is evaluated on while it trains: scenes, or views of a single scene, that it never trains on."""

from collections.abc import Sequence
from dataclasses import dataclass

from objnerf.dataset.index import Dataset
from objnerf.errors import InputError
from objnerf.training.recipe import HeldOut


@dataclass(frozen=True)
class Split:
    """A dataset's scenes, and views of them, divided into those to train on and those held out."""

    train: tuple[int, ...]
    """Ids of the scenes to train on."""
    held_out: tuple[int, ...]
    """Ids of the scenes that are held out."""
    held_out_views: int = 0
    """Last views of each scene that are held out, where there is a single scene."""

    def train_views(self, dataset: Dataset) -> Dataset:
        """The dataset without the views that are held out."""
        return dataset.with_views(lambda views: views[: len(views) - self.held_out_views])

    def held_out_dataset(self, dataset: Dataset) -> Dataset:
        """The dataset to evaluate on: of a single scene the first view and the held-out ones, else all."""
        if not self.held_out_views:
            return dataset
        return dataset.with_views(lambda views: (views[0], *views[len(views) - self.held_out_views :]))

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Ids of the scenes that previews show: held-out ones where there are any."""
        return self.held_out or self.train

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held out, so that no PSNR on novel views can be measured."""
        return not self.held_out and not self.held_out_views


def split_dataset(dataset: Dataset, held_out: HeldOut, needed_views: int) -> Split:
    """Divide a dataset as a recipe says.

    Args:
        dataset: to be trained on.
        held_out: the recipe's section.
        needed_views: views of each scene that a step uses; so many are never held out.
    Raises:
        InputError: nothing would be left to train on.
    """
    train, held = split_scenes(tuple(dataset.scenes), held_out)
    return Split(train, held, views_to_hold_out(dataset, held_out, needed_views))


def views_to_hold_out(dataset: Dataset, held_out: HeldOut, needed: int) -> int:
    """How many of a single scene's last views are held out; 0 where there are several scenes.

    A dataset of one scene has none to spare, so the model is evaluated on views of it.

    Args:
        dataset: to be trained on.
        held_out: the recipe's; where it states a number of scenes, no views are held out.
        needed: views of each scene that a step uses; so many are never held out.
    """
    if len(dataset.scenes) > 1 or held_out.scenes is not None or held_out.share == 0:
        return 0
    views = min(len(scene.views) for scene in dataset.scenes.values())
    return max(0, min(max(1, round(held_out.share * views)), views - needed))


def split_scenes(ids: Sequence[int], held_out: HeldOut) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Scene ids to train on, and the last ones, which are held out; none of a single scene.

    Raises:
        InputError: nothing would be left to train on.
    """
    if held_out.scenes is not None:
        count = held_out.scenes
    else:
        count = max(1, round(held_out.share * len(ids))) if held_out.share > 0 and len(ids) > 1 else 0
    if count >= len(ids):
        raise InputError(
            f"the dataset has {len(ids)} scenes and {count} of them are to be held out, so none is left to "
            "train on; set held_out.scenes or held_out.share lower"
        )
    return tuple(ids[: len(ids) - count]), tuple(ids[len(ids) - count :])
