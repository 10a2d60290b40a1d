"""Weights in the layout of uORF's code: three files, ``{epoch}_net_{part}.pth``, in one folder."""

import re
from pathlib import Path

from torch import Tensor, nn

from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError
from objnerf.models.config import UorfConfig
from objnerf.models.uorf import UORF
from objnerf.models.weights import read_weights

PARTS = ("Encoder", "SlotAttention", "Decoder")


def load_uorf_checkpoint(
    folder: Path,
    geometry: SceneScale,
    *,
    num_slots: int,
    epoch: str = "latest",
    attn_iter: int = 3,
    fixed_locality: bool = False,
    translation_quirk: bool = False,
) -> UORF:
    """The model in a folder of uORF's checkpoints.

    Widths and layer counts are read off the weights' shapes; what they don't determine is an argument.

    Args:
        folder: holds ``{epoch}_net_Encoder.pth``, ``…SlotAttention.pth`` and ``…Decoder.pth``.
        geometry: near, far, scales and lens that the weights were trained with.
        num_slots: slots, the background included.
        epoch: the files' first part: ``latest``, or a number.
        attn_iter: iterations of slot attention.
        fixed_locality: the weights were trained with ``--fixed_locality``.
        translation_quirk: with ``fixed_locality``: foreground fields see the camera's translation in
            world units beside coordinates divided by nss_scale, as in uORF's code.
    Raises:
        InputError: a file is missing, is no checkpoint, holds pickled code, or does not fit the model.
    """
    states = {part: _read_part(folder / f"{epoch}_net_{part}.pth") for part in PARTS}
    config = _config_of(states, folder)
    config = config.model_copy(
        update={
            "num_slots": num_slots,
            "attn_iter": attn_iter,
            "fixed_locality": fixed_locality,
            "reference_translation_quirk": translation_quirk,
        }
    )
    model = UORF(config, geometry)
    modules: dict[str, nn.Module] = {
        "Encoder": model.encoder,
        "SlotAttention": model.slot_attention,
        "Decoder": model.decoder,
    }
    for part, module in modules.items():
        try:
            module.load_state_dict(states[part])
        except RuntimeError as error:
            path = folder / f"{epoch}_net_{part}.pth"
            raise InputError(f"{path} does not hold the weights of uORF's {part}: {error}") from error
    return model


def _read_part(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        found = sorted({match[1] for p in path.parent.glob("*_net_*.pth") if (match := _EPOCH.match(p.name))})
        hint = f"the folder has epochs {', '.join(found)}" if found else "the folder has no such checkpoints"
        raise InputError(f"no file {path}; {hint}")
    return read_weights(path)


_EPOCH = re.compile(r"(.+)_net_\w+\.pth")


def _config_of(states: dict[str, dict[str, Tensor]], folder: Path) -> UorfConfig:
    """Widths and layer counts that the weights' shapes imply."""
    try:
        z_dim = states["SlotAttention"]["slots_mu"].shape[-1]
        joined = states["Decoder"]["f_before.0.weight"].shape[1]
    except KeyError as error:
        raise InputError(f"{folder} holds no uORF checkpoint: its weights lack {error}") from error
    layers = sum(re.fullmatch(r"f_before\.\d+\.weight", key) is not None for key in states["Decoder"])
    return UorfConfig(
        z_dim=z_dim,
        bottom="enc_down_0.0.weight" in states["Encoder"],
        n_freq=(joined - z_dim - 3) // 6,
        n_layers=layers,
    )
