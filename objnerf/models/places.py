"""Slots with explicit places on the ground: the model of the ``tiny`` and ``fast`` recipes.

Slot attention has to find out who explains what; here geometry says it from the first step.

1. The background has no density inside the locality box above the ground, the foreground has density only
   there, each slot only around its own *place*. Where places compete for a point, the nearer one gets it.
2. The encoder tells for every token (a 2 × 2 block of pixels) how likely an object is there, how far away it
   is and where on the ground the object's middle lies. It learns all three from the model's own rendering of
   the input view (``own_losses``): no label, no depth, no mask.
3. Places are the peaks of these votes, sharpened by a few rounds of expectation maximisation. A slot without
   a peak is empty: it has no density, so there is nothing to collapse into.
4. A slot's content is what the tokens that voted for its place have seen. Points may also look up the
   features of the pixel that they project to.
5. An outline says of every pixel of the input view how likely it shows an object. Where it doesn't, there is
   no foreground on its ray, and the background sees it as it is. It begins with what the views of a scene
   tell in training (``objnerf.training.parallax``), which a network of its own learns to tell from one.

Points of the fields are in the input view's azimuth frame (x to the right, y away from the camera, z up), in
world units. Densities are per (far - near) of length, as everywhere.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from objnerf.errors import InputError
from objnerf.models.config import PlacesConfig
from objnerf.models.fields import fourier_features
from objnerf.models.scene import SceneCode, SceneGeometry, SceneModel
from objnerf.rendering.rays import azimuth_rotation, camera_directions, picture_coordinates, points_on_rays
from objnerf.rendering.volume import (
    Rendering,
    SlotRendering,
    SlotSamples,
    composite,
    density_shares,
    expected_depth,
    ray_weights,
)

NOWHERE = 1e3
"""Coordinate, in world units, of the place of a slot that has none."""

SAMPLING_BINS = 64
"""Intervals of a ray in which the density of its samples is constant."""

TOLD_RANGE = (0.3, 0.6)
"""Probability, by what other views tell, from which a token may be an object, and at which it is one."""

EMPTY = 1e-4
"""Density of samples where nothing can be; a few land there, and count nothing."""

APART = 0.8
"""How far the middles of two objects are apart, at least, as a share of the sum of their radii."""

OPEN = 1.0
"""Logit of a pixel's letting the foreground through before anything is learned."""

Code = TypeVar("Code", bound="PlacesCode")


@dataclass(frozen=True, kw_only=True)
class PlacesCode(SceneCode):
    """What the model knows of some scenes. ``present`` is False for slots that found no place."""

    places: Float[Tensor, "scenes slots 2"]
    """Middle of each slot on the ground, field frame, world units; ``NOWHERE`` without one and for slot 0."""
    radii: Float[Tensor, "scenes slots"]
    """How far each slot reaches on the ground, world units; 1 for slot 0."""
    colours: Float[Tensor, "scenes slots 3"]
    """Mean colour of what each slot's tokens see, in [0, 1]."""
    objectness: Float[Tensor, "scenes tokens"]
    """Logit, for each token, of an object being there."""
    token_depth: Float[Tensor, "scenes tokens"]
    """Planar depth of what each token sees, world units."""
    told: Float[Tensor, "scenes height width"]
    """Logit, for each pixel, of its showing something raised rather than ground, by what other views tell."""
    votes: Float[Tensor, "scenes tokens 2"]
    """Where each token thinks its object's middle is, field frame, world units."""
    camera_from_world: Float[Tensor, "scenes 4 4"]
    """Of the input view, for looking up the foreground's features."""
    foreground_map: Float[Tensor, "scenes lifted_and_outline height width"]
    """What points of the foreground look up: features, colour in [0, 1], 1 for there being something, and the
    logit of the pixel's showing an object."""
    background_map: Float[Tensor, "scenes lifted height width"]
    """The same for the background, with objects left out and no outline."""
    background_camera_from_world: Float[Tensor, "scenes 4 4"]
    background_from_world: Float[Tensor, "scenes 4 4"]
    """Takes world points to the frame of the background's field."""
    pinholes: Float[Tensor, "scenes 4"] | None = None
    """The input views' lenses; None where all have the geometry's."""
    background_pinholes: Float[Tensor, "scenes 4"] | None = None

    def select_scenes(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """See ``SceneCode.select_scenes``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[index] for name, value in values.items() if value is not None})

    def select_slots(self: Code, index: Int[Tensor, "chosen"]) -> Code:
        """See ``SceneCode.select_slots``."""
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            present=self.present[:, index],
            attention=None if self.attention is None else self.attention[:, index],
            places=self.places[:, index],
            radii=self.radii[:, index],
            colours=self.colours[:, index],
        )

    def with_background(self: Code, other: Code) -> Code:
        """See ``SceneCode.with_background``."""
        return replace(
            super().with_background(other),
            colours=torch.cat([other.colours[:, :1], self.colours[:, 1:]], dim=1),
            background_map=other.background_map,
            background_camera_from_world=other.background_camera_from_world,
            background_pinholes=other.background_pinholes,
            background_from_world=other.background_from_world,
        )


@dataclass(frozen=True, kw_only=True)
class PlacesRendering(Rendering):
    """What rays see, and where in space each slot was seen."""

    slot_points: Float[Tensor, "scenes rays slots 3"]
    """Mean point that each slot was seen at along the ray, field frame, world units; detached."""


class TokenEncoder(nn.Module):
    """Convolutions at a quarter of the image's size, then a token for every 2 × 2 pixels.

    Args:
        width: channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = max(width // 2, 8)
        groups = math.gcd(8, width)
        # Beside the colours a pixel brings the point in which its ray meets the ground.
        self.half_size = nn.Conv2d(5, half, 3, stride=2, padding=1)
        self.quarter_size = nn.Sequential(
            nn.Conv2d(half, width, 3, stride=2, padding=1), nn.GroupNorm(groups, width)
        )
        # Norms let the colours be heard beside the positions, which are larger and explain more at first.
        self.context = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(groups, width)
            )
            for dilation in (1, 2, 4, 1)
        )
        self.up = nn.Conv2d(width, half, 1)
        self.skip = nn.Conv2d(half, half, 1)
        self.join = nn.Sequential(nn.Conv2d(half, half, 3, padding=1), nn.GroupNorm(math.gcd(4, half), half))
        self.out = nn.Conv2d(half, width, 1)

    def forward(
        self, images: Float[Tensor, "scenes 5 height width"]
    ) -> Float[Tensor, "scenes channels half_height half_width"]:
        """Features of the tokens."""
        half = F.relu(self.half_size(images))
        context = F.relu(self.quarter_size(half))
        for layer in self.context:
            context = context + F.relu(layer(context))
        raised = F.interpolate(self.up(context), size=half.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(self.out(F.relu(self.join(F.relu(raised + self.skip(half))))))


class PixelFeatures(nn.Module):
    """What the tokens say, at every pixel: for outlines, which tokens are too coarse for.

    Args:
        width: channels of a token.
        fine: channels of a pixel.
    """

    def __init__(self, width: int, fine: int) -> None:
        super().__init__()
        self.pixel = nn.Conv2d(5, fine, 3, padding=1)
        self.token = nn.Conv2d(width, fine, 1)
        self.join = nn.Sequential(nn.Conv2d(fine, fine, 3, padding=1), nn.GroupNorm(math.gcd(4, fine), fine))

    def forward(
        self,
        images: Float[Tensor, "scenes 5 height width"],
        tokens: Float[Tensor, "scenes channels half_height half_width"],
    ) -> Float[Tensor, "scenes fine height width"]:
        """Features of the pixels."""
        return F.relu(self.join(F.relu(self.pixel(images) + _enlarged(self.token(tokens), images))))


class Field(nn.Module):
    """Density and colour at points, given what is known of the slot and what the point projects to.

    Colour starts from two known ones, the slot's mean and that of the pixel that the point projects to; the
    field says how to mix and shift them. So colours are about right before anything is learned, and the first
    gradients tell where objects are, not what they look like.

    Args:
        octaves: of the points' Fourier features.
        content: channels of the slot.
        lifted: channels of the features that are looked up, beside colour and validity.
        width: of the hidden layers.
        shift: added before the density's softplus; decides how dense an untrained field is.
        sharpness: density, per world unit, is this times the softplus.
    """

    def __init__(
        self, octaves: int, content: int, lifted: int, width: int, shift: float, sharpness: float
    ) -> None:
        super().__init__()
        self.octaves = octaves
        self.shift = shift
        self.sharpness = sharpness
        self.point = nn.Linear(3 + 6 * octaves, width)
        self.content = nn.Linear(content, width)
        self.lifted = nn.Linear(lifted + 4, width, bias=False)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.content_again = nn.Linear(content, width)
        self.out = nn.Linear(width, 5)

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        contents: Float[Tensor, "slots channels"],
        colours: Float[Tensor, "slots 3"],
        owner: Int[Tensor, "points"],
        lifted: Float[Tensor, "points lifted"],
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density per world unit and colour of points, each asked of the slot ``owner`` of ``contents``.

        The slot's part of a layer is computed once a slot, not once a point.
        """
        hidden = self.point(fourier_features(points, self.octaves)) + self.lifted(lifted)
        hidden = F.relu(hidden + self.content(contents)[owner])
        hidden = F.relu(self.first(hidden))
        hidden = F.relu(self.second(hidden) + self.content_again(contents)[owner])
        density, mix, shift = self.out(hidden).split([1, 1, 3], dim=-1)
        colour, valid = lifted[:, -4:-1], lifted[:, -1:]
        mean = colours[owner]
        known = mean + valid * mix.sigmoid() * (colour - mean)
        colour = (torch.logit(known, eps=0.02) + shift).sigmoid()
        return F.softplus(density[:, 0] + self.shift) * self.sharpness, colour


class Places(SceneModel):
    """Slots with explicit places.

    Args:
        config: widths, counts, sizes in world units and weights of the model's own losses.
        geometry: of the dataset.
    """

    def __init__(self, config: PlacesConfig, geometry: SceneGeometry) -> None:
        super().__init__(geometry)
        self.config = config
        width = config.z_dim
        self.encoder = TokenEncoder(width)
        # Apart from the other, whose gradients from the rendering would drown what little is told here.
        self.evidence_encoder = TokenEncoder(width // 2)
        self.evidence_pixels = PixelFeatures(width // 2, config.fine)
        self.evidence_outline = nn.Conv2d(config.fine, 1, 1)
        self.token_head = nn.Linear(width + width // 2, 5)
        nn.init.zeros_(self.token_head.weight)
        nn.init.zeros_(self.token_head.bias)
        self.gather_token = nn.Linear(width, width)
        self.gather_point = nn.Linear(3 + 6 * 2, width)
        self.foreground_content = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.background_content = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.pixels = PixelFeatures(width, config.fine)
        self.lift_foreground = nn.Conv2d(width, config.lifted, 1)
        self.lift_pixels = nn.Conv2d(config.fine + 3, config.lifted, 1)
        self.lift_background = nn.Conv2d(width + 3, config.lifted, 1)
        # Only corrects what is told, and rather open: a closed outline would have nothing to learn from.
        self.outline = nn.Conv2d(config.fine, 1, 1, bias=False)
        nn.init.zeros_(self.outline.weight)
        self.outline_open = nn.Parameter(torch.tensor(OPEN))
        sizes = (width, config.lifted, config.width)
        self.foreground = Field(4, *sizes, shift=-2.0, sharpness=4.0)
        self.background = Field(5, *sizes, shift=0.0, sharpness=4.0)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.calls: Tensor

    # -- looking at the input view

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
    ) -> PlacesCode:
        """See ``SceneModel.encode``. Height and width are multiples of 4.

        While training, each call brings the exploring noise on objectness nearer to its end.

        Raises:
            InputError: a size that is no multiple of 4.
        """
        scenes, _, height, width = images.shape
        if height % 4 or width % 4:
            raise InputError(
                f"input_size: expected width and height to be multiples of 4, got {width} × {height}"
            )
        config = self.config
        field_from_world = self._field_from_world(world_from_camera, world_from_azimuth)
        lens = self.geometry.focal_ratio if pinholes is None else pinholes
        ground = self._ground_points(world_from_camera, field_from_world, width, height, pinholes)
        pixels = torch.cat([images, ground], dim=1)
        features = self.encoder(pixels)
        tokens = features.flatten(2).transpose(1, 2)
        clues = self.evidence_encoder(pixels)
        told = self.evidence_outline(self.evidence_pixels(pixels, clues))
        evidence = clues.flatten(2).transpose(1, 2)
        colours = F.avg_pool2d(images, 2)

        heads = self.token_head(torch.cat([tokens, evidence.detach()], dim=-1))
        objectness, depth_logit, vote, size = heads.split([1, 1, 2, 1], dim=-1)
        objectness = objectness[..., 0]
        near, far = self.geometry.near, self.geometry.far
        depth = near + (far - near) * depth_logit[..., 0].sigmoid()
        directions = camera_directions(lens, width // 2, height // 2, images.device)
        surface = self._surface(
            directions.flatten(-3, -2), depth.detach(), world_from_camera, field_from_world
        )
        votes = surface[..., :2] + config.vote_reach * vote.tanh()
        sizes = config.radius * torch.exp(size.clamp(-1, 1))

        probability = objectness.detach().sigmoid()
        places, present, share = self._find_places(
            votes.detach(), sizes.detach()[..., 0], probability, generator
        )
        foreground = self._gather(tokens, surface, places, share)
        open_ground = (1 - probability).clamp(min=0.01)
        background = self.background_content(_weighted_mean(tokens, open_ground[..., None]))
        seen = torch.cat([features, colours], dim=1)
        colours = (colours + 1) / 2
        fine = self.pixels(pixels, features)
        lifted = _enlarged(self.lift_foreground(features), images)
        lifted = lifted + self.lift_pixels(torch.cat([fine, images], dim=1))
        outline = told.detach() + self.outline(fine) + self.outline_open
        foreground_map = torch.cat([_with_colours(lifted, (images + 1) / 2), outline], dim=1)
        token_colours = colours.flatten(2).transpose(1, 2)
        mean_colours = torch.cat(
            [
                _weighted_mean(token_colours, open_ground[..., None]),
                _weighted_mean(token_colours, share * probability[..., None]),
            ],
            dim=1,
        )
        if self.training and config.lift_dropout > 0:
            kept = torch.rand(scenes, generator=generator, device=images.device) >= config.lift_dropout
            foreground_map = foreground_map * kept.to(foreground_map)[:, None, None, None]
        one = places.new_ones(scenes, 1)
        radii = torch.where(present, _weighted_mean(sizes, share)[..., 0], config.radius)
        camera_from_world = torch.linalg.inv(world_from_camera)
        return PlacesCode(
            slots=torch.cat([background, foreground], dim=1),
            field_from_world=field_from_world,
            offsets=places.new_zeros(scenes, config.num_slots, 3),
            present=torch.cat([one.bool(), present], dim=1),
            attention=torch.cat([1 - share.sum(-1, keepdim=True), share], dim=-1).transpose(1, 2),
            places=torch.cat([torch.full_like(places[:, :1], NOWHERE), places], dim=1),
            radii=torch.cat([one, radii], dim=1),
            colours=mean_colours,
            objectness=objectness,
            token_depth=depth,
            votes=votes,
            camera_from_world=camera_from_world,
            foreground_map=foreground_map,
            background_map=self._background_map(seen, images, outline),
            told=told[:, 0],
            background_camera_from_world=camera_from_world,
            background_from_world=field_from_world,
            pinholes=pinholes,
            background_pinholes=pinholes,
        )

    def _field_from_world(
        self,
        world_from_camera: Float[Tensor, "scenes 4 4"],
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None,
    ) -> Float[Tensor, "scenes 4 4"]:
        """Frame of the fields: the input view's azimuth frame, or the world's with fixed locality."""
        frame = torch.eye(4).to(world_from_camera).repeat(len(world_from_camera), 1, 1)
        if self.config.fixed_locality:
            return frame
        if world_from_azimuth is None:
            world_from_azimuth = azimuth_rotation(world_from_camera)
        frame[:, :3, :3] = world_from_azimuth.transpose(1, 2)
        return frame

    def _ground_points(
        self,
        world_from_camera: Float[Tensor, "scenes 4 4"],
        field_from_world: Float[Tensor, "scenes 4 4"],
        width: int,
        height: int,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
    ) -> Float[Tensor, "scenes 2 height width"]:
        """Where each pixel's ray meets the ground, field frame, in network units; cut at near and far."""
        lens = self.geometry.focal_ratio if pinholes is None else pinholes
        directions = camera_directions(lens, width, height, world_from_camera.device).flatten(-3, -2)
        falling = (directions @ world_from_camera[:, :3, :3].transpose(1, 2))[..., 2].clamp(max=-1e-3)
        depth = (-world_from_camera[:, None, 2, 3] / falling).clamp(self.geometry.near, self.geometry.far)
        points = self._surface(directions, depth, world_from_camera, field_from_world)
        return points[..., :2].transpose(1, 2).unflatten(2, (height, width)) / self.geometry.nss_scale

    @staticmethod
    def _surface(
        directions: Float[Tensor, "*#scenes rays 3"],
        depth: Float[Tensor, "scenes rays"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        field_from_world: Float[Tensor, "scenes 4 4"],
    ) -> Float[Tensor, "scenes rays 3"]:
        """Points of the input view at the given planar depths, field frame."""
        field_from_camera = field_from_world @ world_from_camera
        points = directions * depth[..., None]
        return points @ field_from_camera[:, :3, :3].transpose(1, 2) + field_from_camera[:, None, :3, 3]

    @torch.no_grad()
    def _find_places(
        self,
        votes: Float[Tensor, "scenes tokens 2"],
        sizes: Float[Tensor, "scenes tokens"],
        probability: Float[Tensor, "scenes tokens"],
        generator: torch.Generator | None,
    ) -> tuple[
        Float[Tensor, "scenes slots 2"], Bool[Tensor, "scenes slots"], Float[Tensor, "scenes tokens slots"]
    ]:
        """Peaks of the votes, best first, and each token's share in them; no gradient passes."""
        config = self.config
        scenes = torch.arange(len(votes), device=votes.device)
        noise = 0.0
        if self.training:
            noise = config.seed_noise * max(0.0, 1 - int(self.calls) / max(config.seed_noise_steps, 1))
            self.calls += 1
        exploring = torch.zeros_like(probability)
        if noise > 0:
            exploring = noise * torch.rand(probability.shape, generator=generator, device=votes.device)
        # Early on every scene gets its slots, whatever the encoder thinks of it.
        wanted = 0.0 if noise > config.seed_noise / 3 else config.seed_threshold
        threshold = torch.full_like(probability[:, :1], wanted)
        seed = probability + exploring
        score = seed.clamp(max=1) * self._vote_density(votes, seed).sqrt()
        # More places than objects at first, so that none is overlooked; then one for each.
        grown = min(1.0, int(self.calls) / max(config.place_distance_steps, 1))
        distance = config.first_place_distance + grown * (config.place_distance - config.first_place_distance)

        count = config.num_slots - 1
        if self.training:
            # A scene that has lost its last slot could never learn that it has objects.
            best = torch.where(votes.abs().amax(-1) < self.geometry.obj_scale, seed, 0.0).amax(
                1, keepdim=True
            )
            threshold = torch.minimum(threshold, best / 2)
        places = votes.new_full((len(votes), count, 2), NOWHERE)
        present = torch.zeros(len(votes), count, dtype=torch.bool, device=votes.device)
        free = (votes.abs().amax(-1) < self.geometry.obj_scale) & (seed > threshold)
        for slot in range(count):
            best = torch.where(free, score, -1.0).argmax(dim=1)
            found = free[scenes, best]
            chosen = votes[scenes, best]
            places[:, slot] = torch.where(found[:, None], chosen, places[:, slot])
            present[:, slot] = found
            # Large objects are farther apart than small ones.
            apart = (APART * grown * (sizes + sizes[scenes, best][:, None])).clamp(min=distance)
            free &= (votes - chosen[:, None]).norm(dim=-1) > apart

        share = votes.new_zeros(*probability.shape, count)
        for _ in range(config.place_rounds):
            squares = (votes[:, :, None] - places[:, None]).square().sum(-1)
            closeness = (-squares / (2 * config.place_sigma**2)).masked_fill(~present[:, None], -1e4)
            near = torch.exp(closeness.amax(-1, keepdim=True).clamp(min=-60) / 4)
            share = closeness.softmax(-1) * (probability[..., None] * near) * present[:, None]
            middle = torch.einsum("btk,btc->bkc", share, votes) / (share.sum(1)[..., None] + 1e-6)
            places = torch.where(present[..., None], middle, places)
        return places, present, share

    @staticmethod
    def _vote_density(
        votes: Float[Tensor, "scenes tokens 2"], weight: Float[Tensor, "scenes tokens"]
    ) -> Float[Tensor, "scenes tokens"]:
        """How much weight votes within half a world unit of each vote have, on a grid of quarter units."""
        cell, half, cells = 0.25, 6.0, 48
        column, row = ((votes + half) / cell).long().clamp(0, cells - 1).unbind(-1)
        index = row * cells + column
        grid = torch.zeros(len(votes), cells * cells, device=votes.device, dtype=weight.dtype)
        grid = grid.scatter_add(1, index, weight).view(-1, 1, cells, cells)
        offsets = torch.arange(-5, 6, device=votes.device, dtype=weight.dtype) * cell
        kernel = torch.exp(-0.5 * (offsets / 0.5).square())
        grid = F.conv2d(grid, kernel.view(1, 1, 1, -1), padding=(0, 5))
        grid = F.conv2d(grid, kernel.view(1, 1, -1, 1), padding=(5, 0))
        return grid.flatten(1).gather(1, index)

    def _gather(
        self,
        tokens: Float[Tensor, "scenes tokens channels"],
        surface: Float[Tensor, "scenes tokens 3"],
        places: Float[Tensor, "scenes slots 2"],
        share: Float[Tensor, "scenes tokens slots"],
    ) -> Float[Tensor, "scenes slots channels"]:
        """Contents of the foreground slots: what their tokens see, and where, seen from their places."""
        best = min(self.config.gathered_tokens, tokens.shape[1])
        weight, index = share.transpose(1, 2).topk(best, dim=-1)
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-6)
        scene = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        origin = F.pad(places, (0, 1))[:, :, None]
        relative = ((surface[scene, index] - origin) / 3).clamp(-1, 1)
        seen = F.relu(
            self.gather_token(tokens)[scene, index] + self.gather_point(fourier_features(relative, 2))
        )
        return self.foreground_content((weight[..., None] * seen).sum(2))

    def _background_map(
        self,
        seen: Float[Tensor, "scenes channels half_height half_width"],
        images: Float[Tensor, "scenes 3 height width"],
        outline: Float[Tensor, "scenes 1 height width"],
    ) -> Float[Tensor, "scenes lifted height width"]:
        """What the background looks up around each pixel, with objects left out.

        It is blurred over blocks as large as an object: light passes, an object doesn't. Single pixels are
        seen only away from the outlines, which the foreground goes by, too: each pixel belongs to one of
        both. Who takes it wrongly is wrong in the other views, and that moves the outline.
        """
        open_ground = F.avg_pool2d(1 - outline.detach().sigmoid(), 2).clamp(min=0.02)
        block = self.config.background_block
        sums = [
            F.avg_pool2d(image, block, ceil_mode=True, count_include_pad=False)
            for image in (seen * open_ground, open_ground)
        ]
        mean = sums[0] / sums[1]
        blurred = F.interpolate(mean, size=seen.shape[-2:], mode="bilinear", align_corners=False)
        colours = _enlarged(blurred[:, -3:], images)
        if self.config.background_detail:
            # Not beside an outline, either: a rim would be painted on the floor.
            detail = 1 - F.max_pool2d(outline.sigmoid(), 5, stride=1, padding=2)
            blurred = blurred + F.avg_pool2d(detail, 2) * (seen - blurred)
            colours = colours + detail * (images - colours)
        return _with_colours(_enlarged(self.lift_background(blurred), images), (colours + 1) / 2)

    # -- answering for points

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """See ``SceneModel.decode``. Only pairs of a point and a slot that may have density are computed."""
        assert isinstance(code, PlacesCode)
        scenes, slots, _ = code.slots.shape
        count = points.shape[1]
        unit = self.geometry.depth_range
        local = (points[:, None] - code.offsets[:, :, None]) @ code.field_from_world[:, None, :3, :3].mT
        relative = local[..., :2] - code.places[:, :, None]
        reach = self._reach(code, local, relative, locality)
        own = self._ownership(code, relative[:, 1:], reach[:, 1:])
        density = points.new_zeros(scenes, slots, count)
        colour = points.new_zeros(scenes, slots, count, 3)

        scene, index = (~self._in_box(local[:, 0]) & code.present[:, :1]).nonzero(as_tuple=True)
        frame = code.background_from_world[scene]
        world = points[scene, index]
        in_field = (frame[:, :3, :3] @ world[..., None])[..., 0] + frame[:, :3, 3]
        lifted = self._look_up(
            code.background_map, code.background_camera_from_world, scene, world, code.background_pinholes
        )
        dense, seen = self.background(
            in_field / self.geometry.nss_scale, code.slots[:, 0], code.colours[:, 0], scene, lifted
        )
        zero = torch.zeros_like(scene)
        density = density.index_put((scene, zero, index), (dense * unit).to(density))
        colour = colour.index_put((scene, zero, index), seen.to(colour))

        scene, slot, index = reach.nonzero(as_tuple=True)
        around = torch.cat([relative[scene, slot, index], local[scene, slot, index, 2:]], dim=-1)
        world = points[scene, index] - code.offsets[scene, slot]
        looked = self._look_up(code.foreground_map, code.camera_from_world, scene, world, code.pinholes)
        lifted, outline = looked[:, :-1], looked[:, -1]
        # What projects to the ground in the input view is not there.
        through = 1 - lifted[:, -1] * (1 - outline.sigmoid())
        dense, seen = self.foreground(
            around / self.config.place_half,
            code.slots.flatten(0, 1),
            code.colours.flatten(0, 1),
            scene * slots + slot,
            lifted,
        )
        dense = dense * through * own[scene, slot - 1, index] * unit
        density = density.index_put((scene, slot, index), dense.to(density))
        colour = colour.index_put((scene, slot, index), seen.to(colour))
        return SlotSamples(density, colour)

    def _in_box(self, local: Float[Tensor, "*points 3"]) -> Bool[Tensor, "*points"]:
        """Inside the locality box and above the ground: where the background may have no density."""
        return (local.abs() <= self.geometry.obj_scale).all(-1) & (local[..., 2] > self.config.ground)

    def _reach(
        self,
        code: PlacesCode,
        local: Float[Tensor, "scenes slots points 3"],
        relative: Float[Tensor, "scenes slots points 2"],
        locality: bool,
    ) -> Bool[Tensor, "scenes slots points"]:
        """Where each slot may have density; nowhere for slot 0."""
        height = local[..., 2]
        reach = (relative.abs() <= self.config.place_half).all(-1)
        reach &= (height > self.config.ground) & (height <= self.config.place_height)
        if locality:
            reach &= (local.abs() <= self.geometry.obj_scale).all(-1)
        reach &= code.present[..., None]
        reach[:, 0] = False
        return reach

    def _ownership(
        self,
        code: PlacesCode,
        relative: Float[Tensor, "scenes foreground points 2"],
        reach: Bool[Tensor, "scenes foreground points"],
    ) -> Float[Tensor, "scenes foreground points"]:
        """Each slot's share of a point, by distance from its place less its radius (a soft power diagram)."""
        power = relative.square().sum(-1) - code.radii[:, 1:, None].detach().square()
        closeness = -power / (2 * self.config.boundary**2)
        return closeness.clamp(-60, 60).masked_fill(~reach, -1e4).softmax(dim=1)

    def _look_up(
        self,
        maps: Float[Tensor, "scenes lifted map_height map_width"],
        camera_from_world: Float[Tensor, "scenes 4 4"],
        scene: Int[Tensor, "points"],
        world: Float[Tensor, "points 3"],
        pinholes: Float[Tensor, "scenes 4"] | None = None,
    ) -> Float[Tensor, "points lifted"]:
        """Features that points of the given scenes project to; zero outside the picture.

        The scenes' maps are laid below one another, so that any number of points may ask of any scene.
        """
        scenes, channels, height, width = maps.shape
        pose = camera_from_world[scene]
        in_camera = (pose[:, :3, :3] @ world[..., None])[..., 0] + pose[:, :3, 3]
        lens = self.geometry.focal_ratio if pinholes is None else pinholes[scene]
        u, v = picture_coordinates(in_camera, lens, 0.1).unbind(-1)
        inside = (u.abs() <= 1) & (v.abs() <= 1)
        edge = 1 - 1 / height
        row = (v.clamp(-edge, edge) + 1) / 2 + scene
        stacked = maps.transpose(0, 1).reshape(1, channels, scenes * height, width)
        grid = torch.stack([u.clamp(-1, 1), 2 * row / scenes - 1], dim=-1)
        features = F.grid_sample(
            stacked, grid[None, None].to(stacked), align_corners=False, padding_mode="border"
        )
        return features[0, :, 0].T * inside.to(stacked)[:, None]

    # -- rendering

    def render(
        self,
        code: SceneCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        *,
        locality: bool,
        chunk_rays: int | None = None,
        recompute: bool = False,
        alone: bool = False,
    ) -> PlacesRendering:
        """See ``SceneModel.render``.

        ``depths`` say how many samples to take and how they are jittered between near and far. They are
        moved along the ray to where there can be something: around the places and to the ground.
        """
        assert isinstance(code, PlacesCode)
        rays = origins.shape[1]
        step = rays if chunk_rays is None else chunk_rays

        def render_chunk(first: int) -> PlacesRendering:
            chunk = slice(first, first + step)
            return self._render(
                code, origins[:, chunk], directions[:, chunk], depths[:, chunk], locality, alone
            )

        if rays <= step and not recompute:
            return render_chunk(0)
        chunks = [
            checkpoint(render_chunk, first, use_reentrant=False, preserve_rng_state=False)
            if recompute and torch.is_grad_enabled()
            else render_chunk(first)
            for first in range(0, rays, step)
        ]
        return _joined(chunks)

    def _render(
        self,
        code: PlacesCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        locality: bool,
        alone: bool,
    ) -> PlacesRendering:
        depths, steps = self._move_samples(code, origins, directions, depths)
        points = points_on_rays(origins, directions, depths)
        samples = self.decode(code, points.flatten(1, 2), locality=locality)
        with torch.autocast(depths.device.type, enabled=False):
            density = samples.density.float().unflatten(2, depths.shape[1:])
            colour = samples.colour.float().unflatten(2, depths.shape[1:])
            share = density_shares(density)
            weights = ray_weights(density.sum(1), steps * directions.norm(dim=-1, keepdim=True))
            slot_weights = share * weights[:, None]
            slot_opacity = slot_weights.sum(-1).transpose(1, 2)
            with torch.no_grad():
                slot_depth = torch.einsum("bkrs,brs->brk", slot_weights, depths) / (slot_opacity + 1e-6)
                slot_points = origins[:, :, None] + directions[:, :, None] * slot_depth[..., None]
                frame = code.field_from_world[:, None]
                slot_points = slot_points @ frame[..., :3, :3].mT + frame[..., None, :3, 3]
            each = None
            if alone:
                unit = self.geometry.depth_range
                each = composite(samples, depths, directions, unit=unit, mixing="sum", alone=True).alone
            return PlacesRendering(
                rgb=torch.einsum("bkrs,bkrsc->brc", slot_weights, colour),
                depth=expected_depth(weights, depths),
                opacity=weights.sum(-1),
                slot_opacity=slot_opacity,
                alone=each,
                slot_points=slot_points,
            )

    @torch.no_grad()
    def _move_samples(
        self,
        code: PlacesCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
    ) -> tuple[Float[Tensor, "scenes rays samples"], Float[Tensor, "scenes rays samples"]]:
        """Samples where something may be, and the length that each stands for, per (far - near).

        The share of the way from near to far that a given depth has covered becomes the share of the
        sampling density that the new one has covered.
        """
        near, far = self.geometry.near, self.geometry.far
        edges = torch.linspace(near, far, SAMPLING_BINS + 1, device=depths.device)
        middle = (edges[1:] + edges[:-1]) / 2
        rotation = code.field_from_world[:, :3, :3].mT
        start, along = origins @ rotation, directions @ rotation
        height = start[..., 2:] + along[..., 2:] * middle

        half, ground, top = self.geometry.obj_scale, self.config.ground, self.config.place_height
        place = code.places + (code.offsets @ rotation)[..., :2]
        size = self.config.place_half
        enter, leave = _slab(
            start[:, :, None],
            along[:, :, None],
            F.pad(place - size, (0, 1), value=ground)[:, None],
            F.pad(place + size, (0, 1), value=top)[:, None],
        )
        enter = enter.masked_fill(~code.present[:, None], far + 1)
        reached = ((middle > enter[..., None]) & (middle < leave[..., None]))[:, :, 1:].any(2)
        low = start.new_tensor([-half, -half, ground])
        enter, leave = _slab(start, along, low, torch.full_like(low, half))
        boxed = (middle > enter[..., None]) & (middle < leave[..., None])
        # The ground is a thin layer that nearly every ray ends in; little is left below it.
        surface = (height < ground + 0.1) & (height > ground - 0.6)
        open_space = torch.where(surface, 0.6, torch.where(height < ground, 0.02, 0.15))
        # Between the camera and the box there is nothing: a background there would hide the foreground.
        hits = (enter < leave)[..., None]
        before = hits & (middle <= enter[..., None])
        wanted = torch.where(boxed, reached.to(height), open_space.masked_fill(before, 0.0)) + EMPTY

        covered = F.pad(wanted.cumsum(-1), (1, 0))
        total = covered[..., -1:]
        target = ((depths - near) / (far - near)).clamp(0, 1) * total
        bin_ = (torch.searchsorted(covered, target, right=True) - 1).clamp(0, SAMPLING_BINS - 1)
        density = wanted.gather(-1, bin_)
        width = (far - near) / SAMPLING_BINS
        moved = edges[bin_] + (target - covered.gather(-1, bin_)) / density * width
        steps = (width * total / (depths.shape[-1] * density)).clamp(max=2.0)
        steps = steps.masked_fill(density < 2 * EMPTY, 0.0)
        return moved, steps / self.geometry.depth_range

    # -- learning from the own rendering

    def token_pixels(self, width: int, height: int) -> Int[Tensor, "tokens"]:
        """Row-major pixel, in a picture of this size, that each token of an input of this size looks at.

        Args:
            width: of the pictures that rays are drawn from; the recipe's input has the same size.
            height: likewise.
        """
        rows = torch.arange(0, height, 2)
        columns = torch.arange(0, width, 2)
        return (rows[:, None] * width + columns).flatten()

    def token_columns(self, width: int) -> int:
        """Tokens in a row of an input of this width."""
        return len(range(0, width, 2))

    def own_losses(
        self,
        code: SceneCode,
        tokens: Int[Tensor, "scenes chosen"],
        rendering: Rendering,
        evidence: Float[Tensor, "scenes pixels 2"] | None = None,
    ) -> dict[str, Tensor]:
        """What the encoder learns from the rendering, and limits on how much the foreground shows.

        Args:
            code: of the scenes.
            tokens: tokens of the input view that the first rays look through.
            rendering: of these and other rays.
            evidence: in [0, 1], that each pixel of the input view shows the ground, or something above it.
        Returns:
            Weighted losses by name.
        """
        assert isinstance(code, PlacesCode)
        assert isinstance(rendering, PlacesRendering)
        config = self.config
        chosen = tokens.shape[1]
        opacity = rendering.slot_opacity[..., 1:]
        shown = opacity.sum(-1).mean()
        weight = opacity.detach()
        total = weight.sum(1)
        points = rendering.slot_points[:, :, 1:, :2]
        middle = torch.einsum("brk,brkc->bkc", weight, points) / (total[..., None] + 1e-4)
        spread = torch.einsum("brk,brk->bk", weight, (points - middle[:, None]).square().sum(-1))
        # 1.3 times the deviation of a disc's outline is about its radius.
        radius = 1.3 * (spread / (total + 1e-4)).clamp(min=0.04).sqrt()
        seen_enough = (total > 0.5) & code.present[:, 1:]
        middle = torch.where(seen_enough[..., None], middle, code.places[:, 1:].clamp(-NOWHERE, NOWHERE))

        owner = weight[:, :chosen] * seen_enough[:, None]
        there = weight[:, :chosen].sum(-1).clamp(0, 1)
        voted_for = torch.einsum("btk,bkc->btc", owner, middle.masked_fill(~seen_enough[..., None], 0))
        voted_for = voted_for / (owner.sum(-1, keepdim=True) + 1e-4)
        votes = code.votes.gather(1, tokens[..., None].expand(-1, -1, 2))
        vote_weight = owner.sum(-1)
        vote_error = ((votes - voted_for).abs().sum(-1) * vote_weight).sum() / (vote_weight.sum() + 1)
        radius_error = ((code.radii[:, 1:] - radius).abs() * seen_enough).sum() / (seen_enough.sum() + 1)
        depth_error = (code.token_depth.gather(1, tokens) - rendering.depth[:, :chosen].detach()).abs().mean()
        told = {}
        if evidence is not None:
            ground, raised = evidence.to(code.told).unflatten(1, code.told.shape[1:]).unbind(-1)
            known = (ground + raised).clamp(min=1e-3)
            told["evidence"] = config.evidence_weight * F.binary_cross_entropy_with_logits(
                code.told, raised / known, weight=known.clamp(max=1)
            )
            # Before the fields know anything, objects are where the views say that something is raised.
            trust = min(1.0, max(0.0, 2 - int(self.calls) / max(config.evidence_steps, 1)))
            likely = F.avg_pool2d(code.told.detach().sigmoid(), 2).flatten(1).gather(1, tokens)
            there = torch.lerp(there, _ramp(likely, TOLD_RANGE), trust)
        objectness = F.binary_cross_entropy_with_logits(code.objectness.gather(1, tokens), there)
        along = opacity.sum(-1)
        undecided = (1 - along) * (along.detach() > config.opaque_from)
        return {
            **told,
            "objectness": config.objectness_weight * objectness,
            "token_depth": config.depth_weight * depth_error,
            "vote": config.vote_weight * vote_error,
            "radius": config.depth_weight * radius_error,
            "sparsity": config.sparsity_weight * self._grown_since(config.sparsity_from) * shown,
            "opaque": config.opaque_weight * self._grown_since(config.opaque_steps) * undecided.mean(),
            "floor": config.floor_weight * F.relu(config.floor - shown) / config.floor,
        }

    def _grown_since(self, step: int) -> float:
        """Share of its weight that a loss has which begins at a step and grows for as many more."""
        return min(1.0, max(0.0, (int(self.calls) - step) / max(step, 1)))


def _ramp(values: Tensor, span: tuple[float, float]) -> Tensor:
    """0 below a span, 1 above it, linear between."""
    return ((values - span[0]) / (span[1] - span[0])).clamp(0, 1)


def _enlarged(
    features: Float[Tensor, "scenes channels half_height half_width"],
    images: Float[Tensor, "scenes colours height width"],
) -> Float[Tensor, "scenes channels height width"]:
    """Features of tokens at the size of a picture."""
    return F.interpolate(features, size=images.shape[-2:], mode="bilinear", align_corners=False)


def _with_colours(
    features: Float[Tensor, "scenes channels map_height map_width"],
    colours: Float[Tensor, "scenes 3 map_height map_width"],
) -> Float[Tensor, "scenes lifted map_height map_width"]:
    """What points look up: features, colours, and a channel of ones."""
    return torch.cat([features, colours, torch.ones_like(colours[:, :1])], dim=1)


def _weighted_mean(
    tokens: Float[Tensor, "scenes tokens channels"], weight: Float[Tensor, "scenes tokens slots"]
) -> Float[Tensor, "scenes slots channels"]:
    """Mean over the tokens for each slot; zero where the weights are."""
    total = weight.sum(1)[..., None] + 1e-6
    return torch.einsum("btk,btc->bkc", weight, tokens) / total


def _slab(
    origins: Float[Tensor, "*rays 3"],
    directions: Float[Tensor, "*rays 3"],
    low: Float[Tensor, "*#boxes 3"],
    high: Float[Tensor, "*#boxes 3"],
) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave boxes with the given corners; a miss enters after it leaves."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first, second = (low - origins) / safe, (high - origins) / safe
    return torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)


def _joined(chunks: list[PlacesRendering]) -> PlacesRendering:
    """Renderings of some rays each, as one."""
    alone = [chunk.alone for chunk in chunks if chunk.alone is not None]
    return PlacesRendering(
        rgb=torch.cat([chunk.rgb for chunk in chunks], dim=1),
        depth=torch.cat([chunk.depth for chunk in chunks], dim=1),
        opacity=torch.cat([chunk.opacity for chunk in chunks], dim=1),
        slot_opacity=torch.cat([chunk.slot_opacity for chunk in chunks], dim=1),
        slot_points=torch.cat([chunk.slot_points for chunk in chunks], dim=1),
        alone=SlotRendering(
            rgb=torch.cat([slot.rgb for slot in alone], dim=1),
            depth=torch.cat([slot.depth for slot in alone], dim=1),
            density_mask=torch.cat([slot.density_mask for slot in alone], dim=1),
        )
        if alone
        else None,
    )
