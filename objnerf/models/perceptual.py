"""Feature stacks for perceptual losses: VGG16's first four blocks, and a stack that needs no weights."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.errors import InputError
from objnerf.models.weights import read_weights

VGG16_FILE = "vgg16-397923af.pth"
"""Name of torchvision's ImageNet weights in torch's download cache."""

#: Width of each convolution; "pool" halves the image. Up to the last ReLU of the fourth block.
VGG16_LAYERS: tuple[int | Literal["pool"], ...] = (
    *(64, 64, "pool"),
    *(128, 128, "pool"),
    *(256, 256, 256, "pool"),
    *(512, 512, 512),
)

#: Of ImageNet's images, by channel, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Vgg16Features(nn.Module):
    """VGG16 up to the last activation of its fourth block; not trained.

    ``features.N`` counts layers as torchvision does, so that its weights fit.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 3
        for layer in VGG16_LAYERS:
            if layer == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(width_in, layer, 3, padding=1), nn.ReLU()]
                width_in = layer
        self.features = nn.Sequential(*layers)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.std: Tensor
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path) -> "Vgg16Features":
        """Weights from a file in torchvision's layout; layers that are not needed may be there or not.

        Raises:
            InputError: the file cannot be read, holds pickled code, or holds other weights.
        """
        network = cls()
        wanted = network.state_dict()
        state = {name: value for name, value in read_weights(path).items() if name in wanted}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(
                f"{path} does not hold VGG16's weights in torchvision's layout (features.0.weight …): {error}"
            ) from error
        return network

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> list[Tensor]:
        """Features of images in [0, 1]: one tensor, at an eighth of the size."""
        return [self.features((images - self.mean) / self.std)]


class GradientPyramid(nn.Module):
    """Edges at several scales: horizontal and vertical differences and the Laplacian, without any weights.

    A stand-in where VGG16's weights are missing: like them it ignores constant shifts of colour and compares
    structure, coarse and fine; unlike them it has no notion of objects.

    Args:
        levels: scales, each half as large as the one before.
    """

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = levels
        # Scaled as VGG16's input is, so that the published weight makes itself felt.
        self.std: Tensor
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        kernels = torch.tensor(
            [
                [[0, 0, 0], [-1, 0, 1], [0, 0, 0]],
                [[0, -1, 0], [0, 0, 0], [0, 1, 0]],
                [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
            ],
            dtype=torch.float32,
        )
        self.kernels: Tensor
        self.register_buffer("kernels", kernels[:, None].repeat(3, 1, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> list[Tensor]:
        """Differences of images in [0, 1]; one tensor a level, for as many levels as the image has."""
        images = images / self.std
        levels = []
        for _ in range(self.levels):
            if min(images.shape[-2:]) < 3:
                break
            levels.append(F.conv2d(images, self.kernels, groups=3))
            images = F.avg_pool2d(images, 2)
        return levels


def cached_vgg16() -> Path:
    """Where torch's download cache keeps torchvision's VGG16 weights, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG16_FILE
