"""Feature stacks: layout of VGG16's weights, what the weight-free stand-in sees, what is refused."""

from pathlib import Path

import pytest
import torch

from objnerf.errors import InputError
from objnerf.models.perceptual import GradientPyramid, Vgg16Features


def test_vgg16_layout():
    """Ten convolutions at torchvision's positions, the last with 512 channels; an eighth of the size."""
    network = Vgg16Features()
    names = sorted({int(name.split(".")[1]) for name in network.state_dict()})
    assert names == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21]
    (features,) = network(torch.rand(1, 3, 32, 48))
    assert features.shape == (1, 512, 4, 6)
    assert features.min() >= 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_vgg16_from_file(tmp_path: Path):
    network = Vgg16Features()
    state = network.state_dict() | {
        "classifier.0.weight": torch.zeros(2, 2),
        "features.24.bias": torch.zeros(3),
    }
    torch.save(state, tmp_path / "vgg.pth")
    loaded = Vgg16Features.from_file(tmp_path / "vgg.pth")
    pictures = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(loaded(pictures), network(pictures))


def test_other_weights_are_refused(tmp_path: Path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth does not hold VGG16's weights"):
        Vgg16Features.from_file(tmp_path / "other.pth")
    with pytest.raises(InputError, match="no file of weights"):
        Vgg16Features.from_file(tmp_path / "none.pth")


def test_pyramid_of_a_ramp():
    """A ramp of 0.1 a pixel: difference over two pixels 0.2, no vertical difference, no Laplacian.

    Halving makes the ramp 0.2 a pixel, so the next level's difference is 0.4. All in units of the first
    channel's standard deviation, 0.229.
    """
    ramp = (torch.arange(8) * 0.1).expand(1, 3, 8, 8).contiguous()
    first, second = GradientPyramid(levels=2)(ramp)
    assert first.shape == (1, 9, 6, 6)
    assert second.shape == (1, 9, 2, 2)
    for level, slope in ((first, 0.2 / 0.229), (second, 0.4 / 0.229)):
        across, down, laplacian = level[0, 0], level[0, 1], level[0, 2]
        torch.testing.assert_close(across, torch.full_like(across, slope))
        torch.testing.assert_close(down, torch.zeros_like(down), rtol=0, atol=1e-5)
        torch.testing.assert_close(laplacian, torch.zeros_like(laplacian), rtol=0, atol=1e-5)


def test_pyramid_ignores_constant_shifts_and_tiny_pictures():
    pictures = torch.rand(2, 3, 16, 16)
    for ours, shifted in zip(GradientPyramid()(pictures), GradientPyramid()(pictures + 0.3), strict=True):
        torch.testing.assert_close(ours, shifted, rtol=0, atol=1e-5)
    assert len(GradientPyramid()(torch.rand(1, 3, 4, 4))) == 1
