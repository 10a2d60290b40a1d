"""Checkpoints: what is saved comes back, and nothing that could run code is read."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from objnerf.errors import InputError, WorkError
from objnerf.training.checkpoints import (
    OptimisedNetwork,
    RunState,
    checkpoint_path,
    load_checkpoint,
    load_run,
    read_state,
    save_checkpoint,
)
from objnerf.training.loop import RunOptions, train
from objnerf.training.recipe import Recipe

STATE = RunState(step=7, attempt=1, ticks=5, discriminator_ticks=2, seconds=1.5, psnr=20.25, best_psnr=21.0)


def make_optimised(seed: int) -> OptimisedNetwork:
    torch.manual_seed(seed)
    network = nn.Linear(3, 2)
    return OptimisedNetwork(network, torch.optim.Adam(network.parameters(), lr=0.1, fused=True))


def move(optimised: OptimisedNetwork) -> None:
    optimised.optimiser.zero_grad()
    optimised.network(torch.ones(1, 3)).square().sum().backward()
    optimised.optimiser.step()


def test_what_is_saved_comes_back(tmp_path: Path):
    """Weights, moments and random numbers: the next step is the same one."""
    path = tmp_path / "last.safetensors"
    optimised = make_optimised(seed=0)
    for _ in range(3):
        move(optimised)
    save_checkpoint(path, STATE, {"model": optimised})
    random = torch.rand(4)
    move(optimised)

    other = make_optimised(seed=1)
    assert load_checkpoint(path, {"model": other}) == STATE
    assert torch.equal(torch.rand(4), random)
    move(other)
    assert torch.equal(other.network.weight, optimised.network.weight)
    assert read_state(path) == STATE
    assert '"step": 7' in path.with_suffix(".json").read_text()


class Evil:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["pickle", "torch", "old torch"])
def test_pickled_code_is_refused_and_not_run(how: str, tmp_path: Path):
    path, trace = tmp_path / "last.safetensors", tmp_path / "trace"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil(trace)))
    else:
        torch.save(Evil(trace), path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match=r"pickled checkpoint.*refused"):
        load_checkpoint(path, {"model": make_optimised(0)})
    assert not trace.exists()


@pytest.mark.parametrize("begin", [b"\x80", b"PK"])
def test_a_header_as_long_as_pickles_begin_is_no_pickle(begin: bytes, tmp_path: Path):
    """A file begins with its header's length in eight bytes, lowest first; spaces may fill the header."""
    path, optimised = tmp_path / "last.safetensors", make_optimised(0)
    save_checkpoint(path, STATE, {"model": optimised})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    wanted = int.from_bytes(begin + b"\0", "little") + (2**16 if len(begin) == 1 else 0)
    header = content[8 : 8 + length].ljust(wanted)
    path.write_bytes(wanted.to_bytes(8, "little") + header + content[8 + length :])
    assert path.read_bytes().startswith(begin)
    other = make_optimised(1)
    assert load_checkpoint(path, {"model": other}) == STATE
    assert torch.equal(other.network.weight, optimised.network.weight)


def test_damaged_missing_and_foreign_files(tmp_path: Path):
    path = tmp_path / "last.safetensors"
    with pytest.raises(InputError, match="no checkpoint can be read"):
        read_state(path)
    optimised = make_optimised(0)
    save_checkpoint(path, STATE, {"model": optimised})
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(path, {"model": optimised})
    path.write_bytes(whole)
    wide = nn.Linear(4, 2)
    with pytest.raises(InputError, match="does not fit"):
        load_checkpoint(path, {"model": OptimisedNetwork(wide, torch.optim.Adam(wide.parameters()))})


def test_an_interrupted_writer_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "last.safetensors"
    optimised = make_optimised(0)
    save_checkpoint(path, STATE, {"model": optimised})

    def half(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("objnerf.training.checkpoints.save_file", half)
    with pytest.raises(WorkError, match="disk full"):
        save_checkpoint(path, RunState(step=9), {"model": optimised})
    assert read_state(path) == STATE
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.json", "last.safetensors"]


def test_a_run_folder_can_be_moved(coded: Path, small_recipe: Recipe, tmp_path: Path):
    """A run loads from another place, and gives the very same pictures."""
    train(coded, tmp_path / "run", small_recipe, RunOptions(max_steps=2))
    shutil.move(tmp_path / "run", tmp_path / "moved")
    model, recipe = load_run(tmp_path / "moved")
    again, _ = load_run(tmp_path / "moved", which="best")
    assert recipe == small_recipe
    assert not model.training
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)  # the best of one look is the last
    checkpoint_path(tmp_path / "moved", "last").unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        load_run(tmp_path / "moved")
