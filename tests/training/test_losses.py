"""Perceptual and adversarial losses: values worked out by hand, who gets gradients, what is said aloud."""

import logging
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from objnerf.errors import InputError
from objnerf.models.perceptual import Vgg16Features, cached_vgg16
from objnerf.training import losses
from objnerf.training.recipe import Adversarial, Perceptual


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download cache of torch."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_rays_as_pictures():
    """2 scenes, 3 views of 2 × 4 pixels: colour (scene, view, row·4 + column) lands where it belongs."""
    scene, view, pixel = torch.meshgrid(torch.arange(2), torch.arange(3), torch.arange(8), indexing="ij")
    colours = torch.stack([scene, view, pixel], dim=-1).float().flatten(1, 2)
    pictures = losses.as_images(colours, 2, 4)
    assert pictures.shape == (6, 3, 2, 4)
    assert pictures[4, :, 1, 2].tolist() == [1, 1, 6]  # 4 = scene 1, view 1; row 1, column 2


def test_depth_by_hand():
    """near 2, far 6. Ray 0 ends at 4, half way: 0.5 · sigma before - log(sigma there + 0.01).

    Rays 1 to 3 end before near, beyond far and nowhere: they don't count.
    """
    density = torch.tensor([[[0.8, 0.99], [5.0, 5.0], [7.0, 7.0], [9.0, 9.0]]])
    surfaces = torch.tensor([[4.0, 1.0, 7.0, math.inf]])
    assert float(losses.depth_loss(density, surfaces, 2.0, 6.0)) == pytest.approx(0.4)
    assert float(losses.depth_loss(density, torch.full((1, 4), math.nan), 2.0, 6.0)) == 0


def test_depth_is_most_likely_for_the_density_that_it_comes_from():
    """Depths drawn from an even fog of density 3: no other even density explains them better."""
    generator = torch.Generator().manual_seed(0)
    depths = -torch.rand(1, 200_000, generator=generator).log() / 3  # far is 1, near 0
    depths = depths[depths < 1][None]

    def loss(sigma: float) -> float:
        # Rays that end beyond far are left out, so the likelihood is that of ending before it.
        seen = math.log(1 - math.exp(-sigma))
        return float(losses.depth_loss(torch.full((*depths.shape, 2), sigma), depths, 0.0, 1.0)) + seen

    assert min([2.0, 2.5, 3.0, 3.5, 4.0], key=loss) == 3.0


def test_stand_in_is_said_aloud(no_cache: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        distance = losses.make_perceptual(Perceptual())
    assert distance.name == "gradient-pyramid"
    assert "gradient-pyramid" in caplog.text
    assert "--set perceptual.weights=FILE" in caplog.text
    assert str(no_cache) in caplog.text


def test_weights_from_the_cache_and_from_a_file(no_cache: Path, tmp_path: Path):
    cached = cached_vgg16()
    assert cached.is_relative_to(no_cache)
    cached.parent.mkdir(parents=True)
    torch.save(Vgg16Features().state_dict(), cached)
    assert losses.make_perceptual(Perceptual()).name == "vgg16"
    cached.rename(tmp_path / "mine.pth")
    assert losses.make_perceptual(Perceptual(weights=tmp_path / "mine.pth")).name == "vgg16"
    with pytest.raises(InputError, match=r"no file of weights at .*other\.pth"):
        losses.make_perceptual(Perceptual(weights=tmp_path / "other.pth"))


@pytest.mark.parametrize("features", ["vgg16", "gradient-pyramid"])
def test_distance(features: str, no_cache: Path, tmp_path: Path):
    torch.manual_seed(0)
    path = None
    if features == "vgg16":
        path = tmp_path / "vgg.pth"
        torch.save(Vgg16Features().state_dict(), path)
    distance = losses.make_perceptual(Perceptual(weights=path))
    real = torch.rand(2, 3, 16, 16, requires_grad=True)
    near = (real.detach() + 0.01 * torch.randn_like(real)).requires_grad_()
    far = real.detach() + 0.2 * torch.randn_like(real)
    assert distance(real.detach(), real).item() == 0
    loss = distance(near, real)
    assert 0 < loss.item() < distance(far, real).item()
    loss.backward()
    assert near.grad is not None
    assert near.grad.abs().sum() > 0
    assert real.grad is None
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_scores_worked_out_by_hand():
    """softplus(x) = ln(1 + e^x). softplus(0) = ln 2; softplus(ln 3) = ln 4; softplus(-ln 3) = ln(4/3)."""
    zero, three = torch.zeros(2, 1), torch.full((2, 1), math.log(3))
    assert losses.generator_loss(zero).item() == pytest.approx(math.log(2))
    assert losses.generator_loss(three).item() == pytest.approx(math.log(4 / 3))
    assert losses.discriminator_loss(three, zero).item() == pytest.approx(math.log(4 / 3) + math.log(2))


class Linear(nn.Module):
    """Scores by a weighted sum, so that the gradient is the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.mean(dim=(2, 3)) @ self.weight)[:, None]


def test_r1_penalty_of_a_weighted_sum():
    """The score of a 2 × 2 picture is Σ w_c/4 over 4 pixels a channel: |gradient|² = 4 Σ w_c²/16 = 14/4."""
    penalty = losses.r1_penalty(Linear(), torch.rand(3, 3, 2, 2))
    assert penalty.item() == pytest.approx(14 / 4)
    network = Linear()
    losses.r1_penalty(network, torch.rand(3, 3, 2, 2)).backward()
    torch.testing.assert_close(network.weight.grad, torch.tensor([1.0, 2.0, 3.0]) / 2)  # d(Σw²/4)/dw = w/2


def test_discriminator_learns_and_r1_is_lazy():
    torch.manual_seed(0)
    settings = Adversarial(width=8, r1_every=4)
    discriminator = losses.make_discriminator(settings, 16)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=settings.lr, betas=settings.betas)
    real = torch.rand(4, 3, 16, 16)
    rendered = (-torch.rand(4, 3, 16, 16)).requires_grad_()
    history = [
        losses.discriminator_step(discriminator, optimiser, real, rendered, settings, step)
        for step in range(1, 24, 2)
    ]
    assert [("r1" in figures) for figures in history] == [False, True] * 6
    assert history[-1]["discriminator"] < 0.5 * history[0]["discriminator"]
    assert rendered.grad is None
    assert discriminator(real).mean() > 0 > discriminator(rendered).mean()


def test_pictures_too_small_for_a_discriminator():
    with pytest.raises(InputError, match="enlarge the stage's size or patch"):
        losses.make_discriminator(Adversarial(), 4)
