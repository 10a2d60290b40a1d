"""Reading files of weights that others made, without running what they may hold."""

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from objnerf.errors import InputError


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a file written by ``torch.save(net.state_dict(), path)``.

    Raises:
        InputError: there is no such file, it is no checkpoint, or it holds anything but tensors.
    """
    if not path.is_file():
        raise InputError(f"no file of weights at {path}")
    _refuse_compressed(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: it holds pickled objects, whose loading could run code, or is damaged. "
            "Expected tensors only, as torch.save(net.state_dict(), …) writes them"
        ) from error
    except Exception as error:
        # The unpickler of torch, which makes nothing but tensors, raises whatever a damaged file makes it do.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no readable PyTorch checkpoint: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} should hold tensors by name, but holds {type(state).__name__}")
    return state


def _refuse_compressed(path: Path) -> None:
    """Refuse archives with compressed members: torch.save never writes any, and they may unfold to any size.

    Raises:
        InputError: a member is larger than what the file holds of it.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is no readable PyTorch checkpoint: {error}") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError(
            f"{path} is refused: its content is compressed, as torch.save never writes it, and may unfold to "
            "any size. Unzip it and zip it again without compression if you trust it"
        )
