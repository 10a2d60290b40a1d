"""Losses beside the colour error: depth, perceptual distance, and the adversarial loss.

Losses of images need patches or whole images, not single rays; ``as_images`` makes them from rendered rays.
"""

import logging
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.errors import InputError
from objnerf.models import SceneCode, SceneModel
from objnerf.models.discriminator import Discriminator
from objnerf.models.perceptual import GradientPyramid, Vgg16Features, cached_vgg16
from objnerf.training.batches import Batch
from objnerf.training.recipe import Adversarial, Perceptual

_log = logging.getLogger(__name__)

PerceptualFeatures = Literal["vgg16", "gradient-pyramid"]


def as_images(
    colours: Float[Tensor, "scenes rays 3"], height: int, width: int
) -> Float[Tensor, "images 3 height width"]:
    """Colours of rays, ordered view by view and row by row, as images.

    Args:
        colours: of every ray of whole patches or images.
        height: of an image, pixels.
        width: of an image, pixels.
    """
    return colours.unflatten(1, (-1, height, width)).flatten(0, 1).movedim(-1, 1)


def densities_along(
    model: SceneModel, batch: Batch, code: SceneCode, locality: bool, noise: torch.Generator
) -> Float[Tensor, "scenes rays 2"]:
    """Density, of all slots together, at a random point before the surface of each ray and on it.

    Args:
        model: answers for the points.
        batch: rays with ``surfaces``.
        code: of its scenes.
        locality: whether foreground slots are confined to the locality box.
        noise: where the first point lies, uniform between near and the surface.
    """
    assert batch.surfaces is not None
    near = model.geometry.near
    share = torch.rand(batch.surfaces.shape, generator=noise, device=batch.surfaces.device)
    before = near + share * (batch.surfaces - near).clamp(min=0)
    depths = torch.stack([before, batch.surfaces], dim=-1).nan_to_num(nan=near, posinf=near, neginf=near)
    points = batch.origins[..., None, :] + batch.directions[..., None, :] * depths[..., None]
    samples = model.decode(code, points.flatten(1, 2), locality=locality)
    return samples.density.float().sum(1).unflatten(1, depths.shape[1:])


def depth_loss(
    density: Float[Tensor, "scenes rays 2"], surfaces: Float[Tensor, "scenes rays"], near: float, far: float
) -> Float[Tensor, ""]:
    """How unlikely it is that rays end where they do: the negative logarithm, mean over the rays.

    A ray ends at depth d with the density sigma(d) exp(-integral of sigma from near to d). Two points a ray
    are enough: the integral is estimated from one that is drawn between near and d (ObSuRF: Stelzner,
    Kersting, Kosiorek 2021).

    Args:
        density: before the surface, drawn uniformly, and on it; per (far - near).
        surfaces: planar depths, world units; rays that end before near, behind far or nowhere don't count.
        near: world units.
        far: world units.
    """
    counted = (surfaces > near) & (surfaces < far)
    length = (surfaces.clamp(near, far) - near) / (far - near)
    before, there = density.unbind(-1)
    unlikely = length.nan_to_num() * before - torch.log(there + 1e-2)
    return (unlikely * counted).sum() / counted.sum().clamp(min=1)


class PerceptualDistance(nn.Module):
    """Mean squared difference of features, summed over the levels of the stack.

    Args:
        name: which stack; recorded in the run's configuration, since the numbers differ.
        features: the stack.
    """

    def __init__(self, name: PerceptualFeatures, features: Vgg16Features | GradientPyramid) -> None:
        super().__init__()
        self.name = name
        self.features = features

    def forward(
        self,
        rendered: Float[Tensor, "images 3 height width"],
        real: Float[Tensor, "images 3 height width"],
    ) -> Float[Tensor, ""]:
        """Distance of images in [0, 1]; gradients reach ``rendered`` only."""
        with torch.no_grad():
            wanted = self.features(real)
        pairs = zip(self.features(rendered), wanted, strict=True)
        return torch.stack([F.mse_loss(ours, theirs) for ours, theirs in pairs]).sum()


def make_perceptual(settings: Perceptual) -> PerceptualDistance:
    """The perceptual distance that a recipe asks for, or its stand-in, with a warning.

    VGG16's weights come from ``settings.weights``, else from torch's download cache. Where neither has them,
    the weight-free ``gradient-pyramid`` takes their place.

    Raises:
        InputError: ``settings.weights`` is no usable file.
    """
    path = settings.weights or cached_vgg16()
    if settings.weights is not None or path.is_file():
        _log.info("perceptual loss on VGG16 features, weights from %s", path)
        return PerceptualDistance("vgg16", Vgg16Features.from_file(path))
    _log.warning(
        "no VGG16 weights at %s: the perceptual loss uses the weight-free stand-in gradient-pyramid, "
        "so the run's metrics are not comparable with uORF's. Put torchvision's file there, or name "
        "one with --set perceptual.weights=FILE",
        path,
    )
    return PerceptualDistance("gradient-pyramid", GradientPyramid())


def generator_loss(scores: Float[Tensor, "images 1"]) -> Float[Tensor, ""]:
    """Non-saturating loss of rendered images: small where the discriminator takes them for real."""
    return F.softplus(-scores).mean()


def discriminator_loss(
    real_scores: Float[Tensor, "images 1"], rendered_scores: Float[Tensor, "images 1"]
) -> Float[Tensor, ""]:
    """Logistic loss: small where real images score high and rendered ones low."""
    return F.softplus(-real_scores).mean() + F.softplus(rendered_scores).mean()


def r1_penalty(discriminator: nn.Module, real: Float[Tensor, "images 3 side side"]) -> Float[Tensor, ""]:
    """Squared norm of the score's gradient at real images, mean over the images."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def make_discriminator(settings: Adversarial, size: int) -> Discriminator:
    """The discriminator of a recipe, for square images of side ``size``.

    Raises:
        InputError: the images are too small.
    """
    try:
        return Discriminator(size, settings.width)
    except ValueError as error:
        raise InputError(f"adversarial loss: {error}; enlarge the stage's size or patch") from error


def discriminator_step(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    real: Float[Tensor, "images 3 side side"],
    rendered: Float[Tensor, "images 3 side side"],
    settings: Adversarial,
    step: int,
) -> dict[str, Float[Tensor, ""]]:
    """Update the discriminator, and in every ``r1_every``-th step once more by the R1 penalty only.

    Args:
        discriminator: what learns; it may be wrapped for several processes.
        optimiser: its own.
        real: images of the dataset, in [-1, 1].
        rendered: images of the model, in [-1, 1]; no gradient reaches them.
        settings: the recipe's.
        step: of the run, counted from 0, the scene model's steps included.
    Returns:
        Detached metrics: ``discriminator``, and ``r1`` in steps that have it.
    """
    optimiser.zero_grad(set_to_none=True)
    loss = discriminator_loss(discriminator(real), discriminator(rendered.detach()))
    loss.backward()
    optimiser.step()
    metrics = {"discriminator": loss.detach()}
    if (step + 1) % settings.r1_every == 0:
        optimiser.zero_grad(set_to_none=True)
        penalty = r1_penalty(discriminator, real)
        (settings.r1_weight * penalty).backward()
        optimiser.step()
        metrics["r1"] = penalty.detach()
    return metrics
