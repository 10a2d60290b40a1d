"""Augmentation: mirrored scenes, and scenes with permuted colour channels.

Both change all views of a scene alike, poses included, so that what is seen stays a scene: its geometry and
its cameras agree as before.
"""

from dataclasses import replace

import torch
from torch import Tensor

from objnerf.training.batches import Batch
from objnerf.training.recipe import Batch as Settings


def augment(batch: Batch, settings: Settings, seed: int) -> Batch:
    """Mirror about half of a batch's scenes and swap the colour channels of each, as ``settings`` says.

    Args:
        batch: of loose rays; images and patches would be rendered in another order of pixels.
        settings: what to do.
        seed: decides which scenes, and how.
    """
    # All inputs of a scene are changed alike.
    inputs = batch.novel.views if batch.novel is not None else 1
    scenes = len(batch.images) // inputs
    generator = torch.Generator().manual_seed(seed)
    if settings.permute_colours:
        orders = torch.stack([torch.randperm(3, generator=generator) for _ in range(scenes)])
        orders = orders.to(batch.images.device).repeat_interleave(inputs, 0)
        batch = replace(
            batch,
            images=batch.images.gather(1, orders[:, :, None, None].expand(batch.images.shape)),
            colours=batch.colours.gather(2, orders[:, None].expand(batch.colours.shape)),
        )
    if settings.mirror:
        mirrored = (torch.rand(scenes, generator=generator) < 0.5).to(batch.images.device)
        batch = mirror(batch, mirrored.repeat_interleave(inputs, 0))
    return batch


def mirror(batch: Batch, mirrored: Tensor) -> Batch:
    """The batch with some of its scenes mirrored at the world's plane x = 0.

    A mirrored camera would be left-handed, so its own x axis is turned too: the pose becomes M P M with
    M = diag(-1, 1, 1, 1), and the image is flipped left to right. The point X of the old world lies at M X
    in the new one, and is seen in the mirrored pixel.

    Args:
        batch: of loose rays.
        mirrored: which inputs, as booleans.
    """
    flip = batch.origins.new_tensor([-1.0, 1.0, 1.0])
    flip4 = torch.cat([flip, flip.new_ones(1)])
    chosen = mirrored[:, None, None]
    pose, pinholes, novel = batch.world_from_camera, batch.pinholes, batch.novel
    if pinholes is not None:
        # What lay right of the middle lies left of it.
        turned = pinholes * pinholes.new_tensor([1.0, 1.0, -1.0, 1.0])
        pinholes = torch.where(mirrored[:, None], turned, pinholes)
    if novel is not None:
        where = torch.where(chosen, novel.where * novel.where.new_tensor([-1.0, 1.0]), novel.where)
        novel = replace(novel, where=where)
    return replace(
        batch,
        images=torch.where(chosen[..., None], batch.images.flip(-1), batch.images),
        world_from_camera=torch.where(chosen, flip4[:, None] * pose * flip4, pose),
        origins=torch.where(chosen, batch.origins * flip, batch.origins),
        directions=torch.where(chosen, batch.directions * flip, batch.directions),
        pinholes=pinholes,
        novel=novel,
    )
