"""The discriminator: sizes, scale of its answers, variety."""

import pytest
import torch

from objnerf.models.discriminator import Discriminator


@pytest.mark.parametrize("size", [8, 16, 32, 48, 64])
@pytest.mark.parametrize("pictures", [1, 4, 6])
def test_scores_of_any_size(size: int, pictures: int):
    scores = Discriminator(size, width=8)(torch.zeros(pictures, 3, size, size))
    assert scores.shape == (pictures, 1)


def test_parameters_at_the_reference_size():
    """At 64 pixels and width 64 (channels 32 | 64, 64, 128, 128 | 128), counted by hand.

    first 3·32 = 96
    block 32→64: 32·32·9 + 32·64·9 + 32·64 = 9216 + 18432 + 2048 = 29696
    block 64→64: 64·64·9·2 + 64·64 = 73728 + 4096 = 77824
    block 64→128: 64·64·9 + 64·128·9 + 64·128 = 36864 + 73728 + 8192 = 118784
    block 128→128: 128·128·9·2 + 128·128 = 294912 + 16384 = 311296
    mixed 129·128·9 = 148608; hidden 128·16·128 = 262144; score 128 + 1 = 129
    """
    count = sum(parameter.numel() for parameter in Discriminator(64, width=64).parameters())
    assert count == 96 + 29696 + 77824 + 118784 + 311296 + 148608 + 262144 + 129


def test_too_small():
    with pytest.raises(ValueError, match="at least 8 pixels, got 4"):
        Discriminator(4)


def test_equal_pictures_have_no_spread():
    """A batch of one picture four times scores as that picture alone: its spread is zero either way."""
    torch.manual_seed(0)
    discriminator = Discriminator(16, width=8)
    picture = torch.rand(1, 3, 16, 16)
    alone, repeated = discriminator(picture), discriminator(picture.repeat(4, 1, 1, 1))
    torch.testing.assert_close(repeated, alone.expand(4, 1), rtol=1e-4, atol=1e-5)
    other = torch.cat([picture.repeat(3, 1, 1, 1), torch.rand(1, 3, 16, 16)])
    assert (discriminator(other)[0] - alone[0]).abs() > 1e-4
