"""From rendered slots and stored masks to instance labels.

Two rules stand side by side. Ours gives a pixel to the slot that is *seen* there: weights are rendered with
mutual occlusion, and what passes through everything belongs to the background. uORF's, kept under
its own name, renders each slot as if the others were not there, so that a hidden object still claims the
pixels of the one in front of it, and takes the second lowest grey level of a mask for the background.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor

from objnerf.dataset.files import grey_levels, labels_from_mask
from objnerf.evaluation.metrics import MetricUnavailable

#: Label of the background, in true masks as in predictions (slot 0).
BACKGROUND = 0


def labels_from_opacity(slot_opacity: Float[Tensor, "*rays slots"]) -> Int[Tensor, "*rays"]:
    """The slot that each ray sees most of.

    Args:
        slot_opacity: each slot's part of a ray's opacity, with mutual occlusion; slot 0 is the background.
    Returns:
        Index of the slot. Light that no slot stops counts for the background, so that a faint haze of
        an object's is not taken for the object.
    """
    seen = slot_opacity.clone()
    seen[..., BACKGROUND] += (1 - slot_opacity.sum(dim=-1)).clamp(min=0)
    return seen.argmax(dim=-1)


def reference_labels(density_mask: Float[Tensor, "*rays slots"]) -> Int[Tensor, "*rays"]:
    """The slot whose own rendering, blind to the others, has the largest weighted density.

    This is uORF's rule.

    Args:
        density_mask: density summed with the weights of a ray that only this slot stops.
    """
    return torch.argmax(density_mask, dim=-1)


def true_labels(mask: UInt8[np.ndarray, "height width 3"]) -> Integer[np.ndarray, "height width"]:
    """True instance labels of a mask's colours: 0 for the background, by its colour."""
    return labels_from_mask(mask)


def reference_true_labels(
    mask: UInt8[np.ndarray, "height width 3"],
) -> tuple[Integer[np.ndarray, "height width"], int]:
    """Labels of a mask and which of them is the background, as uORF's loader has it.

    Returns:
        Index of each pixel's grey level among those present, and 1: the second lowest is the background.
    Raises:
        MetricUnavailable: the mask shows a single grey level (uORF fails there).
    """
    levels, labels = np.unique(grey_levels(mask), return_inverse=True)
    if len(levels) < 2:
        raise MetricUnavailable("the mask has a single grey level, so uORF's background rule fails")
    return labels.reshape(mask.shape[:2]), 1


def best_slot(
    predicted: Integer[np.ndarray, "height width"],
    wanted: np.ndarray,
    slots: int,
) -> tuple[int, float]:
    """The foreground slot that covers a region best.

    Args:
        predicted: slot of each pixel.
        wanted: bool, the region's pixels.
        slots: number of slots, the background included.
    Returns:
        The slot and its intersection over union with the region (0 where nothing overlaps; then slot 1).
    """
    overlaps = []
    for slot in range(1, slots):
        pixels = predicted == slot
        union = (pixels | wanted).sum()
        overlaps.append(float((pixels & wanted).sum() / union) if union else 0.0)
    chosen = int(np.argmax(overlaps))
    return chosen + 1, overlaps[chosen]
