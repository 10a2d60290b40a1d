"""Reading files of weights that others made, without running what they may hold."""

import pickle
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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: it holds pickled objects, whose loading could run code, or is damaged. "
            "Expected tensors alone, as torch.save(net.state_dict(), …) writes them"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{path} is no readable PyTorch checkpoint: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} should hold tensors by name, but holds {type(state).__name__}")
    return state
