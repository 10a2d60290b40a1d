"""Checkpoints: everything that a run needs to go on exactly where it was, without a line of pickled code.

A checkpoint is one safetensors file. Tensors are named for their owner (``model.…``, ``optimiser.…``), the
few numbers beside them stand in the file's own metadata, so that the two cannot disagree. The ``.json``
beside it repeats those numbers for people and scripts.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from objnerf.dataset.card import SceneScale
from objnerf.dataset.files import atomic_path, write_text
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, open_regular, parse_json
from objnerf.errors import InputError, WorkError
from objnerf.models import SceneModel, build_model
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import read_run_config

FORMAT_VERSION = 1

Which = Literal["last", "best"]


@dataclass(frozen=True)
class RunState:
    """The numbers of a checkpoint: how far a run has come."""

    step: int = 0
    """Steps done."""
    attempt: int = 0
    """Restarts after a collapse."""
    ticks: int = 0
    """Ticks of the learning-rate schedule."""
    discriminator_ticks: int = 0
    """The same for the discriminator: its steps."""
    seconds: float = 0.0
    """Time spent in training, over all sessions."""
    psnr: float | None = None
    """On held-out views, when it was last measured."""
    best_psnr: float | None = None
    """The highest one of the run so far."""


@dataclass(frozen=True)
class OptimisedNetwork:
    """A network and its optimiser."""

    network: nn.Module
    optimiser: torch.optim.Optimizer


def save_checkpoint(path: Path, state: RunState, networks: Mapping[str, OptimisedNetwork]) -> None:
    """Write a checkpoint and the ``.json`` beside it, each of them atomically.

    Args:
        path: ends in ``.safetensors``.
        state: the run's numbers.
        networks: by name, each with its optimiser; evaluation looks for ``model``.
    Raises:
        WorkError: it cannot be written; the checkpoint before is still there.
    """
    tensors = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, optimised in networks.items():
        for key, value in optimised.network.state_dict().items():
            tensors[f"{name}.network.{key}"] = value.detach().contiguous()
        for index, moments in optimised.optimiser.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{name}.optimiser.{index}.{key}"] = torch.as_tensor(value).contiguous()
    numbers = {"format_version": FORMAT_VERSION, **asdict(state)}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"objnerf": json.dumps(numbers)})
        write_text(path.with_suffix(".json"), json.dumps(numbers, indent=2) + "\n")
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        raise WorkError(
            f"{path}: the checkpoint of step {state.step} cannot be written ({error}). Make room, then go on "
            "with --resume"
        ) from error


def load_checkpoint(path: Path, networks: Mapping[str, OptimisedNetwork]) -> RunState:
    """Put networks, optimisers and random generators back to where they were.

    Raises:
        InputError: no file, a file with pickled code, a damaged one, or one of another model.
    """
    state, tensors = _read(path)
    for name, optimised in networks.items():
        _load_network(path, optimised.network, _under(tensors, f"{name}.network."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"{name}.optimiser.").items():
            index, _, moment = key.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        groups = optimised.optimiser.state_dict()["param_groups"]
        optimised.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available() and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return state


def read_state(path: Path) -> RunState:
    """The numbers of a checkpoint, without its tensors.

    Raises:
        InputError: no file, a file with pickled code, or a damaged one.
    """
    return _read(path, tensors=False)[0]


def load_run(
    run: Path, device: torch.device | str = "cpu", which: Which = "last"
) -> tuple[SceneModel, Recipe]:
    """The trained model of a run folder, ready to be evaluated, and the recipe that it was trained by.

    Args:
        run: a folder that ``objnerf train --out`` wrote, on this or another machine.
        device: where the model is put.
        which: the newest checkpoint, or the one with the highest PSNR on held-out views. The latter was
            chosen by looking at held-out scenes, so metrics on these are biased in its favour.
    Raises:
        InputError: no run, no checkpoint, or one that cannot be used.
    """
    recipe = read_run_config(run).recipe
    path = checkpoint_path(run, which)
    _, tensors = _read(path)
    model = build_model(recipe.model, scene_geometry(recipe))
    _load_network(path, model, _under(tensors, "model.network."))
    return model.to(device).eval(), recipe


def checkpoint_path(run: Path, which: Which) -> Path:
    """Where a run keeps its newest or best checkpoint."""
    return run / "checkpoints" / f"{which}.safetensors"


def scene_geometry(recipe: Recipe) -> SceneScale:
    """Near, far, scales and lens of a recipe, which a model needs."""
    return SceneScale(**recipe.scale.model_dump(include=set(SceneScale.model_fields)))


#: What reading a damaged checkpoint raises: the header may hold any JSON.
_DAMAGED = (
    *(SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError),
    RecursionError,
)


def _read(path: Path, tensors: bool = True) -> tuple[RunState, dict[str, Tensor]]:
    try:
        with open_regular(path, MAX_COLLECTION_BYTES) as file:
            head = file.read(9)
    except (OSError, Unreadable) as error:
        raise InputError(f"{path}: no checkpoint can be read there ({error})") from None
    # Safetensors begin with the length of their header, whose first bytes may be any, and then the header.
    if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
        raise InputError(
            f"{path} is a pickled checkpoint, which may run any code when it is read; it is refused. "
            "Expected a safetensors file as `objnerf train` writes it"
        )
    try:
        with safe_open(path, framework="pt") as file:
            numbers: dict[str, Any] = parse_json((file.metadata() or {})["objnerf"])
            found = {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
        if numbers.pop("format_version") != FORMAT_VERSION:
            raise InputError(f"{path} was written by another version of objnerf than this one")
        return RunState(**numbers), found
    except _DAMAGED as error:
        raise InputError(f"{path} is damaged or no checkpoint of a run: {error}") from None


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load_network(path: Path, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:400]
        raise InputError(f"{path} does not fit the run's configuration: {detail}") from None
