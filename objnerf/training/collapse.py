"""Watching a run for collapse: what to measure in a step, and what the metrics mean.

``measure`` computes metrics of one step, cheaply and without waiting for the device. ``CollapseMonitor``
takes the metrics of step after step and names the collapse that it recognises:

- *dead foreground*: the foreground has no density, and no gradient reaches its field. It will not come back.
- *few-rank slots*: the foreground slots show the same thing in the same place.
- *background eats objects*: the foreground's field learns, but shows next to nothing.
- *foreground eats background*: the background is hidden behind the foreground nearly everywhere, or the
  foreground shows where other views explain the pixels by the background.

The first two are the collapses that the format's documentation describes; the others are swaps of roles.
A finding is made when a metric's mean over a window of steps is out of bounds, not before a grace period: in
the first steps all slots look alike in any run.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.scene import SceneCode
from objnerf.rendering.volume import Rendering
from objnerf.training.recipe import Monitor, Recipe

FOREGROUND_FIELDS = ("decoder.f_", "lifting.")
"""How the names of the foreground fields' parameters begin, in any of our models."""

NEGLIGIBLE = 1e-3
"""Opacity below which a ray does not count as showing a slot."""


class Collapse(StrEnum):
    """Kinds of collapse; the value is its name in the log and in ``metrics.jsonl``."""

    DEAD_FOREGROUND = "dead foreground"
    FEW_RANK = "few-rank slots"
    BACKGROUND_EATS_OBJECTS = "background eats objects"
    FOREGROUND_EATS_BACKGROUND = "foreground eats background"


ADVICE = {
    Collapse.DEAD_FOREGROUND: "start again from another seed (--seed), or lower the learning rate (--lr) or "
    "lengthen the warm-up (--warmup-steps); the recipes tiny and fast have losses that keep it alive",
    Collapse.FEW_RANK: "start again from another seed (--seed), train on more scenes a step "
    "(--set batch.scenes=4) or clip gradients (--set optimiser.clip=0.5); with the recipes tiny and fast "
    "each slot owns its own cells",
    Collapse.BACKGROUND_EATS_OBJECTS: "keep the locality box longer (--set locality.until=...), see that it "
    "holds the objects (--obj-scale; `objnerf validate` proposes one), or start again from another seed",
    Collapse.FOREGROUND_EATS_BACKGROUND: "make the locality box smaller (--obj-scale; `objnerf validate` "
    "proposes one) or keep it longer (--set locality.until=...), or start again from another seed",
}
"""What to do about each, for the log."""


@dataclass(frozen=True)
class Finding:
    """A collapse that was recognised."""

    kind: Collapse
    step: int
    """Steps done when it was recognised."""
    seen: str
    """The metrics that show it, in words."""

    def __str__(self) -> str:
        return f"step {self.step}: {self.kind}: {self.seen}. Advice: {ADVICE[self.kind]}"


def measure(code: SceneCode, rendering: Rendering) -> dict[str, Float[Tensor, ""]]:
    """Metrics of one step, each a scalar on the device, means over the scenes.

    Args:
        code: the step's scenes.
        rendering: of some rays of them.
    Returns:
        ``slots/foreground_opacity`` and ``slots/background_opacity``: mean over the rays of what the slots
        show, in [0, 1]. ``slots/foreground_share``: the first's part in both. ``slots/foreground_pixels``:
        share of the rays that see a foreground slot most. ``slots/used``: foreground slots that show in
        anything. ``slots/rank``: effective rank of the used slots' latents; ``slots/similarity``: mean
        cosine between what two used slots show over the rays, 0 where there are not two.
    """
    with torch.no_grad(), torch.autocast(rendering.rgb.device.type, enabled=False):
        shown = rendering.slot_opacity.detach().float()
        foreground = shown[..., 1:]
        front, back = foreground.sum(-1).mean(), shown[..., 0].mean()
        used = (foreground.mean(1) > NEGLIGIBLE) & code.active[:, 1:]
        return {
            "slots/foreground_opacity": front,
            "slots/background_opacity": back,
            "slots/foreground_share": front / (front + back + 1e-8),
            "slots/foreground_pixels": (foreground.amax(-1) > shown[..., 0]).float().mean(),
            "slots/used": used.sum(-1).float().mean(),
            "slots/rank": effective_rank(code.slots[:, 1:].detach().float() * used[..., None]).mean(),
            "slots/similarity": slot_similarity(foreground, used).mean(),
        }


def effective_rank(slots: Float[Tensor, "scenes slots channels"]) -> Float[Tensor, " scenes"]:
    """Exponential of the entropy of the slots' normalised singular values (Roy and Vetterli, 2007).

    Slots are brought to length 1 first, so that a long one does not hide the others. 1 for slots that are
    multiples of one vector, their number for orthogonal ones, 0 for no slot at all.
    """
    # From the Gram matrix: there are far fewer slots than channels.
    unit = slots / slots.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    values = torch.linalg.eigvalsh(unit @ unit.mT).clamp(min=0).sqrt()
    share = values / values.sum(-1, keepdim=True).clamp(min=1e-8)
    entropy = -(share * share.clamp(min=1e-12).log()).sum(-1)
    return torch.where(values.sum(-1) > 1e-6, entropy.exp(), 0.0)


def slot_similarity(opacity: Float[Tensor, "scenes rays slots"], used: Tensor) -> Float[Tensor, " scenes"]:
    """Mean cosine between what two used slots show over the rays: 1 for the same thing, 0 for apart."""
    unit = opacity / opacity.norm(dim=1, keepdim=True).clamp(min=1e-8)
    cosine = unit.mT @ unit
    pairs = (used[:, :, None] & used[:, None]).float()
    pairs = pairs - torch.diag_embed(used.float())
    return (cosine * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def foreground_gradient_share(model: nn.Module) -> Float[Tensor, ""]:
    """Norm of the foreground fields' gradient over that of the whole; after ``backward``, before clipping.

    0 where no gradient reaches them, which for a field with a ReLU density means that it is dead.
    """
    front: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            (front if name.startswith(FOREGROUND_FIELDS) else rest).append(parameter.grad)
    if not front:
        return torch.zeros(())
    ours, others = _squares(front), _squares(rest) if rest else torch.zeros_like(front[0].sum())
    return (ours / (ours + others).clamp(min=1e-30)).sqrt()


def _squares(gradients: Iterable[Tensor]) -> Tensor:
    norms = torch._foreach_norm([gradient.detach().float() for gradient in gradients])
    return torch.stack(list(norms)).square().sum()


class CollapseMonitor:
    """Keeps the metrics of the last steps and names the collapse that they show.

    Args:
        settings: bounds, window and grace period.
        slots: of the model, the background included: with a single foreground slot there is nothing to rank.
    """

    def __init__(self, settings: Monitor, slots: int) -> None:
        self.settings = settings
        self.slots = slots
        self.reported: set[Collapse] = set()
        self._seen: deque[tuple[int, Mapping[str, float]]] = deque()

    def update(self, step: int, metrics: Mapping[str, float]) -> Finding | None:
        """Take the mean metrics of the steps since the last call; the collapse that they show, if it is new.

        Args:
            step: steps done.
            metrics: of ``measure``, ``gradient/foreground_share`` and, where the model measures it,
                ``slots/explained_opacity``; others are ignored.
        """
        self._seen.append((step, metrics))
        begin = step - self.settings.window
        while self._seen[0][0] <= begin:
            self._seen.popleft()
        if not self.settings.enabled or begin < self.settings.grace:
            return None
        finding = self._judge(step)
        if finding is None or finding.kind in self.reported:
            return None
        self.reported.add(finding.kind)
        return finding

    def _mean(self, name: str) -> float:
        values = [metrics[name] for _, metrics in self._seen if name in metrics]
        return sum(values) / len(values) if values else math.nan

    def _judge(self, step: int) -> Finding | None:
        settings = self.settings
        opacity, share = self._mean("slots/foreground_opacity"), self._mean("slots/foreground_share")
        gradient = self._mean("gradient/foreground_share")
        if opacity < settings.least_foreground:
            seen = f"the foreground shows in {opacity:.2%} of what the rays see"
            if gradient < settings.least_gradient:
                seen += f" and its field gets {gradient:.2%} of the gradient"
                return Finding(Collapse.DEAD_FOREGROUND, step, seen)
            return Finding(Collapse.BACKGROUND_EATS_OBJECTS, step, seen + ", though its field still learns")
        if share > settings.most_foreground:
            seen = f"the foreground makes up {share:.1%} of what the rays see"
            return Finding(Collapse.FOREGROUND_EATS_BACKGROUND, step, seen)
        fog = self._mean("slots/explained_opacity")
        if fog > settings.most_explained:
            seen = (
                f"the foreground's mean opacity is {fog:.2f} at pixels where the other views show that the "
                "background explains them"
            )
            return Finding(Collapse.FOREGROUND_EATS_BACKGROUND, step, seen)
        used, similarity = self._mean("slots/used"), self._mean("slots/similarity")
        if self.slots > 2 and used >= 2 and similarity > settings.most_similar:
            seen = (
                f"{used:.1f} foreground slots are in use, but what two of them show has a cosine of "
                f"{similarity:.3f} on average, and the effective rank of their latents is "
                f"{self._mean('slots/rank'):.2f}"
            )
            return Finding(Collapse.FEW_RANK, step, seen)
        return None


def monitor_of(recipe: Recipe) -> CollapseMonitor:
    """The monitor that a recipe asks for, with nothing seen yet."""
    return CollapseMonitor(recipe.monitor, recipe.model.num_slots)
