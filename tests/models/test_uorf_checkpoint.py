"""Checkpoints of the reference: what is read off them, and what is refused."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError
from objnerf.models.config import UorfConfig
from objnerf.models.uorf import UORF
from objnerf.models.uorf_checkpoint import load_uorf_checkpoint

GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(1.1, 1.5))


def _write(model: UORF, folder: Path, epoch: str = "latest") -> None:
    parts = {"Encoder": model.encoder, "SlotAttention": model.slot_attention, "Decoder": model.decoder}
    for part, module in parts.items():
        torch.save(module.state_dict(), folder / f"{epoch}_net_{part}.pth")


@pytest.mark.parametrize(
    "config",
    [
        UorfConfig(num_slots=3, z_dim=8, n_freq=2, n_layers=2),
        UorfConfig(num_slots=5, z_dim=12, bottom=True, attn_iter=2),
    ],
)
def test_round_trip(config: UorfConfig, tmp_path: Path):
    model = UORF(config, GEOMETRY)
    _write(model, tmp_path, "240")
    loaded = load_uorf_checkpoint(
        tmp_path, GEOMETRY, epoch="240", num_slots=config.num_slots, attn_iter=config.attn_iter
    )
    assert loaded.config == config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


def test_missing_epoch_names_those_that_are_there(tmp_path: Path):
    _write(UORF(UorfConfig(num_slots=2, z_dim=8), GEOMETRY), tmp_path, "240")
    with pytest.raises(InputError, match=r"latest_net_Encoder\.pth; the folder has epochs 240"):
        load_uorf_checkpoint(tmp_path, GEOMETRY, num_slots=2)


class Payload:
    """Pickles to a call."""

    def __reduce__(self):
        return (os.mkdir, ("pwned",))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    _write(UORF(UorfConfig(num_slots=2, z_dim=8), GEOMETRY), tmp_path)
    torch.save({"enc_down_1.0.weight": Payload()}, tmp_path / "latest_net_Encoder.pth")
    with pytest.raises(InputError, match="refused: it holds pickled objects"):
        load_uorf_checkpoint(tmp_path, GEOMETRY, num_slots=2)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_damaged_file(content: bytes, tmp_path: Path):
    _write(UORF(UorfConfig(num_slots=2, z_dim=8), GEOMETRY), tmp_path)
    (tmp_path / "latest_net_Decoder.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"latest_net_Decoder\.pth"):
        load_uorf_checkpoint(tmp_path, GEOMETRY, num_slots=2)


def test_weights_of_another_part(tmp_path: Path):
    _write(UORF(UorfConfig(num_slots=2, z_dim=8), GEOMETRY), tmp_path)
    shutil.copy(tmp_path / "latest_net_SlotAttention.pth", tmp_path / "latest_net_Encoder.pth")
    with pytest.raises(InputError, match="does not hold the weights of uORF's Encoder"):
        load_uorf_checkpoint(tmp_path, GEOMETRY, num_slots=2)
