"""What is in a dataset's folder, as plain data: names, ``dataset.yaml``, and the views' small text files.

Everything is read once, and nothing is judged. Pictures, masks and depth maps are opened later, by
``validate.measure``.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from objnerf.dataset import names
from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.card import CARD_NAME, DatasetCard, read_card
from objnerf.dataset.files import read_pinhole
from objnerf.dataset.index import Dataset, View
from objnerf.dataset.untrusted import Unreadable, read_bytes
from objnerf.errors import InputError
from validate.read import MAX_MATRIX_BYTES, MatrixText, read_matrix_text
from validate.workers import Workers

#: Views whose text files are read in one piece of work.
_CHUNK_VIEWS = 500


@dataclass(frozen=True)
class Matrices:
    """The matrices beside the views, as they are in their files.

    Attributes:
        poses, azimuths: the numbers; nan where there are none of the right shape.
        pose_text, azimuth_text: what reading gave instead, by view.
    """

    poses: Float[np.ndarray, "views 4 4"]
    azimuths: Float[np.ndarray, "views 3 3"]
    pose_text: dict[int, MatrixText]
    azimuth_text: dict[int, MatrixText]


@dataclass(frozen=True)
class DatasetScan:
    """A dataset's folder as it was found.

    Attributes:
        dataset: the index of its names.
        card: ``dataset.yaml``; None when there is none or it cannot be read (see ``card_problem``).
        views: all views, scene by scene. What is said of a view by number is an index into them.
        matrices: poses and azimuths.
        pinholes: the views' own intrinsics, by view; for a file that cannot be used, why not.
        extras: pictures that are no views though they are called like one (extra passes); not in ``views``.
    """

    dataset: Dataset
    card: DatasetCard | None
    card_problem: str | None
    views: Sequence[View]
    matrices: Matrices
    pinholes: dict[int, Pinhole | str] = field(default_factory=dict)
    extras: Sequence[View] = ()

    @property
    def n_scenes(self) -> int:
        return len(self.dataset.scenes)

    @property
    def unfinished(self) -> bool:
        """Whether a generator has made some scenes of those that dataset.yaml says, and not all yet."""
        card = self.card
        return (
            card is not None
            and card.preset is not None
            and card.scenes is not None
            and self.n_scenes < card.scenes
        )

    @cached_property
    def scene_of(self) -> Int[np.ndarray, " views"]:
        """Scene id of each view."""
        return np.array([view.scene for view in self.views], dtype=np.int64)

    @cached_property
    def scene_index(self) -> Int[np.ndarray, " views"]:
        """Scene of each view, counted 0 … n_scenes - 1."""
        is_first = np.zeros(len(self.views), dtype=np.int64)
        is_first[np.flatnonzero(np.diff(self.scene_of)) + 1] = 1
        return np.cumsum(is_first)

    @cached_property
    def scene_blocks(self) -> dict[int, slice]:
        """Where the views of each scene are, by scene id."""
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.scene_index)) + 1, [len(self.views)]])
        return {
            int(self.scene_of[start]): slice(int(start), int(stop))
            for start, stop in itertools.pairwise(starts)
            if stop > start
        }


def scan_files(dataset: Dataset, workers: Workers) -> DatasetScan:
    """Read the text files of an indexed folder.

    Raises:
        InputError: there is no view in it.
        WorkError: a worker process died.
    """
    card, card_problem = _card(dataset.root)
    if not dataset.scenes:
        _refuse_empty(dataset)
    views, extras = _without_extra_passes(list(dataset.views()))
    return DatasetScan(
        dataset=dataset,
        card=card,
        card_problem=card_problem,
        views=views,
        matrices=read_matrices(dataset.root, views, workers),
        pinholes=read_pinholes(dataset.root, views, workers),
        extras=extras,
    )


def _card(root: Path) -> tuple[DatasetCard | None, str | None]:
    """``dataset.yaml`` if it can be read, and else why not."""
    path = root / CARD_NAME
    if path.exists() and not path.is_file():
        return None, "no regular file"
    try:
        return read_card(root), None
    except InputError as error:
        return None, str(error)


def _refuse_empty(dataset: Dataset) -> None:
    """A folder with no view: a dataset whose names are all wrong can be reported on, nothing else can."""
    if any(name.endswith(names.POSE_SUFFIX) for name in dataset.orphans):
        return
    if not (dataset.strays or dataset.others or dataset.orphans):
        raise InputError(
            f"{dataset.root}: the folder is empty; expected views named like 00011_sc0002_img3.png"
        )
    hint = "name the folder that holds the images themselves"
    if {"transforms.json", "transforms_train.json", "sparse", "cameras.txt", "cameras.bin"} & set(
        dataset.others
    ):
        hint = "this looks like another format: objnerf convert turns it into this one"
    found = f"{len(dataset.strays)} PNG files without a scene id" if dataset.strays else "none"
    raise InputError(
        f"{dataset.root}: expected views named like 00011_sc0002_img3.png, found {found}; {hint}"
    )


def _without_extra_passes(views: list[View]) -> tuple[list[View], list[View]]:
    """Take out pictures that are no views: without a pose, and called like another view plus a suffix.

    ``x_sc0001_img0_normal.png`` beside ``x_sc0001_img0.png`` is an extra pass that belongs in a sub-folder.
    """
    stems = {view.stem for view in views}
    kept, extras = [], []
    for view in views:
        beginnings = (view.stem[:cut] for cut in range(len(view.stem)) if view.stem[cut] == "_")
        if names.POSE_SUFFIX not in view.companions and any(beginning in stems for beginning in beginnings):
            extras.append(view)
        else:
            kept.append(view)
    return kept, extras


def read_matrices(root: Path, views: Sequence[View], workers: Workers) -> Matrices:
    """Read every ``_RT.txt`` and every ``_azi_rot.txt``."""
    n = len(views)
    read = Matrices(np.full((n, 4, 4), np.nan), np.full((n, 3, 3), np.nan), {}, {})
    tasks = (
        (
            str(root),
            [view.stem for view in views[start : start + _CHUNK_VIEWS]],
            [names.POSE_SUFFIX in view.companions for view in views[start : start + _CHUNK_VIEWS]],
            [names.AZIMUTH_SUFFIX in view.companions for view in views[start : start + _CHUNK_VIEWS]],
        )
        for start in range(0, n, _CHUNK_VIEWS)
    )
    for number, chunk in enumerate(workers.map(_read_chunk, tasks)):
        start = number * _CHUNK_VIEWS
        read.poses[start : start + _CHUNK_VIEWS] = chunk.poses
        read.azimuths[start : start + _CHUNK_VIEWS] = chunk.azimuths
        read.pose_text.update({start + view: text for view, text in chunk.pose_text.items()})
        read.azimuth_text.update({start + view: text for view, text in chunk.azimuth_text.items()})
    return read


def _read_chunk(task: tuple[str, list[str], list[bool], list[bool]]) -> Matrices:
    root, stems, has_pose, has_azimuth = task
    n = len(stems)
    chunk = Matrices(np.full((n, 4, 4), np.nan), np.full((n, 3, 3), np.nan), {}, {})
    for view, stem in enumerate(stems):
        if has_pose[view]:
            text = read_matrix_text(f"{root}/{stem}{names.POSE_SUFFIX}", 4, 4)
            if text.values is None:
                chunk.pose_text[view] = text
            else:
                chunk.poses[view] = text.values
        if has_azimuth[view]:
            text = read_matrix_text(f"{root}/{stem}{names.AZIMUTH_SUFFIX}", 3, 3)
            if text.values is None:
                chunk.azimuth_text[view] = text
            else:
                chunk.azimuths[view] = text.values
    return chunk


def read_pinholes(root: Path, views: Sequence[View], workers: Workers) -> dict[int, Pinhole | str]:
    """Read every ``_intrinsics.txt``: the camera of each such view, or why its file cannot be used."""
    having = [index for index, view in enumerate(views) if names.INTRINSICS_SUFFIX in view.companions]
    tasks = (
        (root, [views[index].stem for index in having[start : start + _CHUNK_VIEWS]])
        for start in range(0, len(having), _CHUNK_VIEWS)
    )
    found = (item for chunk in workers.map(_read_pinholes_chunk, tasks) for item in chunk)
    return dict(zip(having, found, strict=True))


def _read_pinholes_chunk(task: tuple[Path, list[str]]) -> list[Pinhole | str]:
    root, stems = task
    return [_read_pinhole(root, stem) for stem in stems]


def _read_pinhole(root: Path, stem: str) -> Pinhole | str:
    """The camera of one view, or what is wrong with its file."""
    path = root / f"{stem}{names.INTRINSICS_SUFFIX}"
    try:
        # A pipe or a device in the file's place would hang the plain reader.
        read_bytes(path, MAX_MATRIX_BYTES)
        if not (root / f"{stem}.png").is_file():
            return "its image is not a regular file"
        return read_pinhole(path)
    except Unreadable as problem:
        return str(problem)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
