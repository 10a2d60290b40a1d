"""Muon: weight matrices move by their orthogonalised momentum, everything else by Adam.

The momentum of a weight matrix is dominated by a few directions, so Adam's steps mostly repeat these. Muon
replaces the momentum by the nearest matrix whose singular values are all about 1, so that each step changes
the layer's output by as much in every direction:

    m ← momentum · m + (1 - momentum) · g
    u = orthogonalise((1 - momentum) · g + momentum · m)
    w ← w - lr · 0.2 · √max(rows, columns) · u

The factor gives an update the root mean square that Adam's typically has, so one learning rate serves both.
Convolutions count as matrices of output channels × everything else.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the method and
the coefficients of the iteration; Liu et al., "Muon is Scalable for LLM Training" (arXiv 2502.16982), for the
factor. ``torch.optim.Muon`` takes two-dimensional weights only and iterates in bfloat16, which CPUs are slow
at.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

ITERATIONS = 5
"""Of Newton-Schulz: singular values end up in about 0.7 to 1.2."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial a x + b x³ + c x⁵ that each iteration applies to the singular values."""

LEAST_SIDE = 8
"""Rows and columns that a weight needs to be moved as a matrix. Below are read-outs of a few channels, whose
directions differ in meaning, biases and norms."""


def orthogonalise(matrices: Float[Tensor, "count rows columns"]) -> Float[Tensor, "count rows columns"]:
    """Matrices with the same singular vectors and singular values of about 1, by Newton-Schulz iterations.

    Singular values that are tiny beside the largest one (under about 1e-3) stay below 1.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    # The Frobenius norm bounds the largest singular value, as the iteration needs it.
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for a network's weight matrices and Adam for its other parameters.

    Args:
        network: whose parameters are moved.
        lr: learning rate of both.
        momentum: of the matrices.
        betas: decay of Adam's first and second moment.
        eps: Adam's.
        fused: let Adam run as one kernel; only on devices that torch has one for.

    Example:
        >>> network = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        >>> optimiser = Muon(network, lr=2e-3)
        >>> network(torch.ones(4, 16)).square().mean().backward()
        >>> optimiser.step()
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        fused: bool = False,
    ) -> None:
        matrices = [weight for weight in network.parameters() if is_matrix(weight)]
        others = [weight for weight in network.parameters() if not is_matrix(weight)]
        if not matrices or not others:
            raise ValueError(
                f"expected a network with weight matrices of at least {LEAST_SIDE} × {LEAST_SIDE} and with "
                f"other parameters, found {len(matrices)} and {len(others)} of them"
            )
        super().__init__([{"params": matrices, "momentum": momentum}], {"lr": lr})
        self._adam = torch.optim.Adam(others, lr=lr, betas=betas, eps=eps, fused=fused)
        self.param_groups.append(self._adam.param_groups[0])
        self._share_state()

    def _share_state(self) -> None:
        # One state and one list of groups for both, so that checkpoints and learning rates see one optimiser.
        self._adam.state = self.state
        self._adam.param_groups = self.param_groups[1:]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``torch.optim.Optimizer.load_state_dict``."""
        super().load_state_dict(state_dict)
        self._share_state()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient.

        Raises:
            ValueError: a closure was given.
        """
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients before the step")
        group = self.param_groups[0]
        # Matrices of one shape are orthogonalised together.
        by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                by_shape.setdefault((len(weight), weight[0].numel()), []).append(weight)
        for (rows, columns), weights in by_shape.items():
            directions = orthogonalise(
                torch.stack([self._momentum(weight, group["momentum"]) for weight in weights])
            )
            size = group["lr"] * 0.2 * max(rows, columns) ** 0.5
            for weight, direction in zip(weights, directions, strict=True):
                weight.sub_(direction.view_as(weight), alpha=size)
        self._adam.step()

    def _momentum(self, weight: Tensor, momentum: float) -> Float[Tensor, "rows columns"]:
        """Nesterov's: the gradient and the mean of all up to it."""
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        mean = state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(mean, momentum).flatten(1)


def is_matrix(weight: Tensor) -> bool:
    """Whether Muon moves it by its orthogonalised momentum."""
    return weight.ndim >= 2 and min(len(weight), weight[0].numel()) >= LEAST_SIDE
