"""The image encoder of uORF: a small U-Net whose features keep the input's position."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def _convolution(
    channels_in: int, channels_out: int, stride: int = 1, upsample: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1), nn.ReLU()]
    if upsample:
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


def position_channels(height: int, width: int, device: torch.device) -> Float[Tensor, "4 {height} {width}"]:
    """x, 2 - x, y, 2 - y with x and y running from -1 to 1 over the pixel centres."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device),
        torch.linspace(-1, 1, width, device=device),
        indexing="ij",
    )
    return torch.stack([x, 2 - x, y, 2 - y])


class Encoder(nn.Module):
    """Three convolutions down, three up with skips, all ``z_dim`` wide.

    Args:
        z_dim: width of every layer and of the features.
        bottom: one more layer at full resolution in front; the features are then at half the input's size.

    Parameter names are those of uORF's ``{epoch}_net_Encoder.pth``.
    """

    def __init__(self, z_dim: int = 64, bottom: bool = False) -> None:
        super().__init__()
        image_channels = 3 + 4
        self.bottom = bottom
        if bottom:
            self.enc_down_0 = _convolution(image_channels, z_dim)
        self.enc_down_1 = _convolution(z_dim if bottom else image_channels, z_dim, stride=2 if bottom else 1)
        self.enc_down_2 = _convolution(z_dim, z_dim, stride=2)
        self.enc_down_3 = _convolution(z_dim, z_dim, stride=2)
        self.enc_up_3 = _convolution(z_dim, z_dim, upsample=True)
        self.enc_up_2 = _convolution(2 * z_dim, z_dim, upsample=True)
        self.enc_up_1 = _convolution(2 * z_dim, z_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "scenes 3 height width"]
    ) -> Float[Tensor, "scenes channels rows columns"]:
        """Features of images in [-1, 1], at their size, or half of it with ``bottom``."""
        scenes, _, height, width = images.shape
        position = position_channels(height, width, images.device).to(images.dtype).expand(scenes, -1, -1, -1)
        x = torch.cat([images, position], dim=1)
        if self.bottom:
            x = self.enc_down_0(x)
        down_1 = self.enc_down_1(x)
        down_2 = self.enc_down_2(down_1)
        up_3 = self.enc_up_3(self.enc_down_3(down_2))
        up_2 = self.enc_up_2(torch.cat([up_3, down_2], dim=1))
        return self.enc_up_1(torch.cat([up_2, down_1], dim=1))
