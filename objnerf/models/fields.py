"""The two radiance fields of uORF, one for the background and one shared by all foreground slots.

A layer that sees (Fourier features of a point, slot) is computed as a point part plus a slot part: the same
numbers as from the joined input, without building it.
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

    Parameter names are those of uORF's ``{epoch}_net_Decoder.pth``.
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
        self, points: Float[Tensor, "points 3"], slot: Float[Tensor, " channels"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density and colour of a background slot at points in the world frame, divided by nss_scale."""
        *after, head = _linears(self.b_after)
        raw = head(self._hidden(_linears(self.b_before), after, points, slot))
        return raw[:, 3].relu(), (raw[:, :3].tanh() + 1) / 2

    def foreground(
        self, points: Float[Tensor, "points 3"], slot: Float[Tensor, " channels"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density and colour of a foreground slot at points in its field's frame, divided by nss_scale."""
        hidden = self._hidden(_linears(self.f_before), _linears(self.f_after), points, slot)
        # Nothing bends between the latent layer and the first one of the colour: one product does both.
        first, second = _linears(self.f_color)
        weight = first.weight @ self.f_after_latent.weight
        bias = first.weight @ self.f_after_latent.bias + first.bias
        colour = second(F.linear(hidden, weight, bias).relu_())
        return self.f_after_shape(hidden)[:, 0].relu(), (colour.tanh() + 1) / 2

    def _hidden(
        self,
        before: list[nn.Linear],
        after: list[nn.Linear],
        points: Float[Tensor, "points 3"],
        slot: Float[Tensor, " channels"],
    ) -> Float[Tensor, "points width"]:
        """Last hidden layer of a field."""
        features = fourier_features(points, self.octaves)
        joined = before[0].in_features

        def point_and_slot(layer: nn.Linear) -> Tensor:
            slot_part = F.linear(slot, layer.weight[:, self.features : joined], layer.bias)
            return torch.addmm(slot_part, features, layer.weight[:, : self.features].T)

        hidden = point_and_slot(before[0]).relu_()
        for layer in before[1:]:
            hidden = layer(hidden).relu_()
        hidden = torch.addmm(point_and_slot(after[0]), hidden, after[0].weight[:, joined:].T).relu_()
        for layer in after[1:]:
            hidden = layer(hidden).relu_()
        return hidden


def _linears(layers: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
