"""The two radiance fields of uORF, one for the background and one shared by all foreground slots.

A field's first layer, and the one behind its skip, sees (Fourier features of a point, slot). Both are
computed as a point part plus a slot part: the same numbers as the joined input, without building it.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def fourier_features(points: Float[Tensor, "*points 3"], octaves: int) -> Float[Tensor, "*points features"]:
    """The coordinates, then sine and cosine of them at frequencies 1, 2, 4, … (3 + 6 × octaves numbers)."""
    scaled = [points * 2.0**octave for octave in range(octaves)]
    return torch.cat([points, *(wave for x in scaled for wave in (x.sin(), x.cos()))], dim=-1)


def _layers(width_in: int, width: int, count: int) -> nn.Sequential:
    widths = [width_in] + [width] * count
    layers: list[nn.Module] = []
    for first, second in itertools.pairwise(widths):
        layers += [nn.Linear(first, second), nn.ReLU()]
    return nn.Sequential(*layers)


class Decoder(nn.Module):
    """Background field ``b_…`` and foreground field ``f_…``.

    Args:
        z_dim: width of slots and layers.
        octaves: octaves of the Fourier features.
        layers: layers before, and after, the skip.

    Parameter names are those of the reference's ``{epoch}_net_Decoder.pth``.
    """

    def __init__(self, z_dim: int = 64, octaves: int = 5, layers: int = 3) -> None:
        super().__init__()
        self.octaves = octaves
        self.features = 3 + 6 * octaves
        joined = self.features + z_dim
        self.f_before = _layers(joined, z_dim, layers)
        self.f_after = _layers(joined + z_dim, z_dim, layers)
        self.f_after_latent = nn.Linear(z_dim, z_dim)
        self.f_after_shape = nn.Linear(z_dim, 1)
        self.f_color = nn.Sequential(nn.Linear(z_dim, z_dim // 4), nn.ReLU(), nn.Linear(z_dim // 4, 3))
        self.b_before = _layers(joined, z_dim, layers)
        self.b_after = _layers(joined + z_dim, z_dim, layers).append(nn.Linear(z_dim, 4))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def background(
        self, points: Float[Tensor, "points 3"], slot: Float[Tensor, "1 channels"]
    ) -> tuple[Float[Tensor, "1 points"], Float[Tensor, "1 points 3"]]:
        """Density and colour of a background slot at points in the world frame, divided by nss_scale."""
        *after, head = _linears(self.b_after)
        raw = head(self._trunk(_linears(self.b_before), after, points, slot))
        return raw[..., 3].relu(), (raw[..., :3].tanh() + 1) / 2

    def foreground(
        self, points: Float[Tensor, "points 3"], slots: Float[Tensor, "slots channels"]
    ) -> tuple[Float[Tensor, "slots points"], Float[Tensor, "slots points 3"]]:
        """Density and colour of foreground slots at points in their field's frame, divided by nss_scale."""
        hidden = self._trunk(_linears(self.f_before), _linears(self.f_after), points, slots)
        density = self.f_after_shape(hidden)[..., 0].relu()
        # Nothing bends between the latent layer and the first one of the colour: one product does both.
        first, second = _linears(self.f_color)
        weight = first.weight @ self.f_after_latent.weight
        bias = first.weight @ self.f_after_latent.bias + first.bias
        colour = second(F.linear(hidden, weight, bias).relu())
        return density, (colour.tanh() + 1) / 2

    def _trunk(
        self,
        before: list[nn.Linear],
        after: list[nn.Linear],
        points: Float[Tensor, "points 3"],
        slots: Float[Tensor, "slots channels"],
    ) -> Float[Tensor, "slots points channels"]:
        features = fourier_features(points, self.octaves)
        hidden = self._joined(before[0], features, slots).relu()
        for layer in before[1:]:
            hidden = layer(hidden).relu()
        skip_weight = after[0].weight[:, before[0].in_features :]
        hidden = (self._joined(after[0], features, slots) + F.linear(hidden, skip_weight)).relu()
        for layer in after[1:]:
            hidden = layer(hidden).relu()
        return hidden

    def _joined(
        self,
        layer: nn.Linear,
        features: Float[Tensor, "points features"],
        slots: Float[Tensor, "slots channels"],
    ) -> Float[Tensor, "slots points channels"]:
        """The layer on (features, slot) for every pair of point and slot, without a part for a skip."""
        point_weight = layer.weight[:, : self.features]
        slot_weight = layer.weight[:, self.features : self.features + slots.shape[-1]]
        return F.linear(features, point_weight) + F.linear(slots, slot_weight, layer.bias)[:, None]


def _linears(layers: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
