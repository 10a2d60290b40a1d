"""Slot attention with one background slot that has its own start, query, GRU and MLP (uORF, section 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

HIDDEN = 128
EPS = 1e-8


def _query(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width, bias=False))


def _residual(width: int) -> nn.Sequential:
    hidden = max(width, HIDDEN)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class SlotAttention(nn.Module):
    """Slot attention (Locatello et al. 2020) with a background slot of its own.

    In each iteration the attention is a softmax over the slots, A_kn = softmax_k(q_k · k_n / sqrt(width)),
    and a GRU updates each slot from the mean of the values under its attention; a residual MLP follows.

    Args:
        num_slots: slots, the background included.
        width: width of tokens and slots.
        iterations: rounds of attention and refinement.

    Parameter names are those of uORF's ``{epoch}_net_SlotAttention.pth``.
    """

    def __init__(self, num_slots: int, width: int = 64, iterations: int = 3) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.iterations = iterations
        self.slots_mu = nn.Parameter(torch.randn(1, 1, width))
        self.slots_logsigma = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, width)))
        self.slots_mu_bg = nn.Parameter(torch.randn(1, 1, width))
        self.slots_logsigma_bg = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, width)))
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_q = _query(width)
        self.to_q_bg = _query(width)
        self.gru = nn.GRUCell(width, width)
        self.gru_bg = nn.GRUCell(width, width)
        self.to_res = _residual(width)
        self.to_res_bg = _residual(width)
        self.norm_feat = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, tokens: Float[Tensor, "scenes tokens channels"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "scenes slots channels"], Float[Tensor, "scenes slots tokens"]]:
        """Slots (background first) and the last round's attention, which sums to 1 over the slots.

        Args:
            tokens: the encoder's features.
            generator: source of the slots' random start, on the tokens' device.
        """
        scenes, _, width = tokens.shape
        noise = torch.randn((scenes, self.num_slots, width), generator=generator, device=tokens.device)
        background = self.slots_mu_bg + self.slots_logsigma_bg.exp() * noise[:, :1]
        foreground = self.slots_mu + self.slots_logsigma.exp() * noise[:, 1:]

        tokens = self.norm_feat(tokens)
        keys = self.to_k(tokens) * width**-0.5
        values = self.to_v(tokens)
        attention = tokens.new_empty(scenes, self.num_slots, 0)
        for _ in range(self.iterations):
            queries = torch.cat([self.to_q_bg(background), self.to_q(foreground)], dim=1)
            attention = (queries @ keys.transpose(1, 2)).softmax(dim=1) + EPS
            updates = attention / attention.sum(dim=-1, keepdim=True) @ values
            background = _refine(self.gru_bg, self.to_res_bg, updates[:, :1], background)
            foreground = _refine(self.gru, self.to_res, updates[:, 1:], foreground)
        return torch.cat([background, foreground], dim=1), attention


def _refine(
    gru: nn.GRUCell,
    residual: nn.Module,
    updates: Float[Tensor, "scenes slots channels"],
    slots: Float[Tensor, "scenes slots channels"],
) -> Float[Tensor, "scenes slots channels"]:
    refined = gru(updates.flatten(0, 1), slots.flatten(0, 1)).unflatten(0, slots.shape[:2])
    return refined + residual(refined)
