"""The run folder: what a training run leaves behind, and what it needs to go on.

::

    config.yaml        the resolved recipe and what was trained on
    environment.json   one entry a session: command, versions, machine, state of the code
    train.log          what happened
    metrics.jsonl      one line of metrics every few steps
    tensorboard/       the same for TensorBoard, with the previews
    previews/          step_000500.png, …
    checkpoints/       last and best
"""

import hashlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from objnerf.console import package_log
from objnerf.dataset.files import write_image, write_text
from objnerf.dataset.folders import TEMPORARY_PREFIX, only_writer, sweep
from objnerf.dataset.index import Dataset
from objnerf.errors import InputError
from objnerf.training.checkpoints import checkpoint_path
from objnerf.training.held_out import Split
from objnerf.training.processes import Processes
from objnerf.training.recipe import DatasetFacts, Recipe, RunConfig
from objnerf.training.recipe_files import dump_yaml, read_run_config
from objnerf.version import __version__

_log = logging.getLogger(__name__)

#: Packages whose versions decide what a run computes.
_PACKAGES = ("objnerf", "torch", "numpy", "pillow", "safetensors", "pydantic")

#: Parts of a recipe that a resumed run may have changed: they change what is reported, not what is learned.
_MAY_CHANGE = ("name", "summary", "saving", "evaluation", "monitor")


class RunFolder:
    """Writes a run's metrics and previews; in all processes but the main one it writes nothing.

    Args:
        path: the folder.
        config: the run's, as ``config.yaml`` has it.
        checkpoint: the one to continue from; None for a run that starts.
        writes: whether this process is the main one.
    """

    def __init__(self, path: Path, config: RunConfig, checkpoint: Path | None, writes: bool) -> None:
        self.path = path
        self.config = config
        self.checkpoint = checkpoint
        self.writes = writes
        self._board: Any = None

    @property
    def holds_out(self) -> bool:
        """Whether scenes or views are held out, so that PSNR on novel views means something."""
        return bool(self.config.dataset.held_out_scenes or self.config.dataset.held_out_views)

    def open_board(self) -> None:
        """Also write for TensorBoard from now on."""
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(self.path / "tensorboard"), flush_secs=30)

    def close(self) -> None:
        """Finish what TensorBoard has not written yet."""
        if self._board is not None:
            self._board.close()

    def record_perceptual(self, features: Literal["vgg16", "gradient-pyramid"]) -> None:
        """Say in the configuration which features the perceptual loss rests on.

        Raises:
            InputError: the run was started with others, so its loss would change halfway.
        """
        before = self.config.perceptual_features
        if before is not None and before != features:
            raise InputError(
                f"{self.path}: the run was started with the perceptual features {before}, and here there "
                f"are only {features}; give the weights by --set perceptual.weights=FILE, or start anew"
            )
        self.config = self.config.model_copy(update={"perceptual_features": features})
        if self.writes:
            write_text(self.path / "config.yaml", dump_yaml(self.config))

    def write_metrics(self, step: int, metrics: Mapping[str, float | int | str | None]) -> None:
        """Add a line to ``metrics.jsonl`` and its numbers to TensorBoard."""
        if not self.writes:
            return
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, step)

    def write_preview(self, step: int, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Write a preview to ``previews/`` and to TensorBoard."""
        if not self.writes:
            return
        write_image(self.path / "previews" / f"step_{step:06d}.png", image)
        if self._board is not None:
            self._board.add_image("preview", image, step, dataformats="HWC")

    def forget_after(self, step: int, attempt: int) -> None:
        """Drop metrics of steps that a killed run took after its last checkpoint; they are taken again."""
        path = self.path / "metrics.jsonl"
        if not self.writes or not path.is_file():
            return
        kept = [
            line for line in _lines(path) if (line.get("attempt", attempt), line["step"]) <= (attempt, step)
        ]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def history(self, step: int, attempt: int) -> list[tuple[int, dict[str, float]]]:
        """Steps and metrics of an attempt so far, up to a step."""
        path = self.path / "metrics.jsonl"
        found = _lines(path) if path.is_file() else []
        return [
            (line["step"], {key: value for key, value in line.items() if isinstance(value, float)})
            for line in found
            if line.get("attempt") == attempt and line["step"] <= step
        ]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` that can be read; a process that is killed may leave half a line."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            found.append(line)
    return found


@contextmanager
def open_run(
    out: Path,
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    resume: bool,
    command: Sequence[str],
    processes: Processes,
) -> Iterator[RunFolder]:
    """Make a run folder, or open one to continue its run; the log is written while it is open.

    Args:
        out: the folder.
        recipe: the run's.
        dataset: to train on.
        split: what of it is held out.
        resume: continue the run that the folder holds.
        command: what the user typed.
        processes: this one and those beside it; the main one writes.
    Raises:
        InputError: the folder holds another run or something else, the run was another one than this, or
            another process is writing to it.
    """
    config = RunConfig(objnerf_version=__version__, recipe=recipe, dataset=_dataset_facts(dataset, split))
    with ExitStack() as stack:
        if processes.main:
            stack.enter_context(only_writer(out))
        before = _check_folder(out, config, resume)
        if before is not None:
            config = config.model_copy(update={"perceptual_features": before.perceptual_features})
        processes.wait()  # nobody writes before everybody has looked
        checkpoint = checkpoint_path(out, "last")
        resumed = checkpoint if resume and checkpoint.is_file() else None
        folder = RunFolder(out, config, resumed, processes.main)
        if processes.main:
            sweep([out, out / "checkpoints", out / "previews"])
            write_text(out / "config.yaml", dump_yaml(config))
            _write_environment(out / "environment.json", command, processes)
            stack.enter_context(_log_to(out / "train.log"))
            if recipe.saving.tensorboard:
                folder.open_board()
                stack.callback(folder.close)
        yield folder


def _dataset_facts(dataset: Dataset, split: Split) -> DatasetFacts:
    size = next(dataset.views()).image().shape
    card = dataset.card()
    return DatasetFacts(
        path=str(dataset.root.resolve()),
        scenes=len(dataset.scenes),
        views=dataset.n_views,
        image_size=(size[1], size[0]),
        train_scenes=split.train,
        held_out_scenes=split.held_out,
        held_out_views=split.held_out_views,
        focal_ratio=None if card is None else card.focal_ratio,
        files=_files_checksum(dataset),
    )


def _check_folder(out: Path, config: RunConfig, resume: bool) -> RunConfig | None:
    """The configuration of the run to continue; None where there is none yet."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder for the run, found a file")
    found = [path.name for path in out.iterdir()] if out.exists() else []
    if all(name.startswith(TEMPORARY_PREFIX) for name in found):
        return None  # empty, or what a process left that was killed before it began
    if not (out / "config.yaml").is_file():
        raise InputError(f"--out {out}: the folder is not empty and holds no run; choose another one")
    if not (out / "metrics.jsonl").is_file() and not checkpoint_path(out, "last").is_file():
        return None  # it failed before its first step: nothing would be overwritten
    if not resume:
        raise InputError(
            f"--out {out}: the folder holds a run already; go on with it by --resume, or choose another one"
        )
    before = read_run_config(out)
    _check_same_run(out, before, config)
    return before


def _check_same_run(out: Path, before: RunConfig, config: RunConfig) -> None:
    """See that a resumed run has the recipe and the dataset that it was started with.

    Raises:
        InputError: names what differs.
    """
    changed = _differences(
        before.recipe.model_dump(mode="json"), config.recipe.model_dump(mode="json"), skip=_MAY_CHANGE
    )
    if changed:
        raise InputError(
            f"--out {out}: the run there was started with another recipe, so it cannot be resumed with this "
            f"one; what differs: {'; '.join(changed[:6])}. Leave these options out, or start a new run"
        )
    if before.dataset.train_scenes != config.dataset.train_scenes:
        raise InputError(
            f"--out {out}: the run there was trained on {len(before.dataset.train_scenes)} scenes of "
            f"{before.dataset.path}, the dataset given now has others; give the same one"
        )
    if before.dataset.held_out_views != config.dataset.held_out_views:
        raise InputError(
            f"--out {out}: the run there held the last {before.dataset.held_out_views} of "
            f"{before.dataset.views} views out of training, and now it would be the last "
            f"{config.dataset.held_out_views} of {config.dataset.views}, so that views that it has learned "
            "from could count as novel; give the dataset as it was, or start a new run"
        )
    if before.dataset.files is not None and before.dataset.files != config.dataset.files:
        raise InputError(
            f"{config.dataset.path}: the views' files are not those that the run in {out} was started with: "
            "their names or sizes differ. Give the dataset as it was, or start a new run"
        )


def _files_checksum(dataset: Dataset) -> str:
    """Changes when a file of a view comes, goes or gets another size; the same for a copy elsewhere.

    Sizes only, since reading all content of a large dataset would take minutes; an image that was rendered
    again has another size.
    """
    with os.scandir(dataset.root) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    digest = hashlib.sha256()
    for view in dataset.views():
        for suffix in (".png", *sorted(view.companions)):
            name = view.stem + suffix
            digest.update(f"{name} {sizes.get(name)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _differences(before: Any, now: Any, key: str = "", skip: Sequence[str] = ()) -> list[str]:
    """What changed between two contents, as ``key: old -> new``."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in dict.fromkeys([*before, *now]):
            if name not in skip:
                found += _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        return found
    return [] if before == now else [f"{key}: {before} -> {now}"]


def _log_to(path: Path) -> AbstractContextManager[None]:
    """While it is open, what the package logs is added to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return package_log(handler)


def _write_environment(path: Path, command: Sequence[str], processes: Processes) -> None:
    sessions = []
    if path.is_file():
        try:
            sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        except (ValueError, KeyError, TypeError):
            _log.warning("%s could not be read and is replaced", path)
    sessions.append(
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": list(command),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "device": processes.description,
            "processes": processes.count,
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "code": _code_state(),
        }
    )
    write_text(path, json.dumps({"sessions": sessions}, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _code_state() -> dict[str, Any] | None:
    """Commit and changed files of the code that runs; None where it is no git checkout."""
    package = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside somebody else's checkout, whose commit has nothing to do with it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changed = git("status", "--porcelain") or ""
    return {
        "commit": git("rev-parse", "HEAD"),
        "changed": [line.strip() for line in changed.splitlines()[:200]],
    }
