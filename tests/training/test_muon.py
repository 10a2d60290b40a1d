"""Muon: what its steps are, and that a checkpoint holds all of it."""

import pytest
import torch
from torch import nn

from objnerf.errors import InputError
from objnerf.training.checkpoints import OptimisedNetwork, RunState, load_checkpoint, save_checkpoint
from objnerf.training.muon import LEAST_SIDE, Muon, orthogonalise
from objnerf.training.recipe_files import parse_recipe


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 24), nn.Linear(24, 2))


def move(net, optimiser, steps):
    torch.manual_seed(4)
    for _ in range(steps):
        optimiser.zero_grad()
        net(torch.randn(8, 3, 4, 4)).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 60), (2, 60, 16)])
def test_singular_values_become_about_one_and_singular_vectors_stay(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-4, 1.0, 50.0])[: shape[0], None, None]
    found = orthogonalise(matrices)
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.25
    # The least singular value of a square Gaussian matrix may be tiny, and then stays below 1.
    assert values.median() > 0.65
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.transpose(1, 2) @ found @ v.transpose(1, 2)
    off = inside - torch.diag_embed(inside.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 0.02


def test_a_matrix_moves_by_the_learning_rate_in_every_direction():
    net = nn.Linear(12, 10)
    optimiser = Muon(net, lr=0.01)
    before = net.weight.detach().clone()
    (net(torch.eye(12)) * torch.randn(12, 10)).sum().backward()
    optimiser.step()
    moved = torch.linalg.svdvals(before - net.weight.detach()) / (0.01 * 0.2 * 12**0.5)
    assert 0.6 < moved.median() <= moved.max() < 1.25


def test_biases_and_small_read_outs_move_as_adam_moves_them():
    torch.manual_seed(1)
    net = network()
    twin = network()
    optimiser, adam = Muon(net, lr=0.01), torch.optim.Adam(twin.parameters(), lr=0.01)
    for model in (net, twin):
        torch.manual_seed(5)
        model(torch.randn(8, 3, 4, 4)).square().mean().backward()
    optimiser.step()
    adam.step()
    for (name, ours), theirs in zip(net.named_parameters(), twin.parameters(), strict=True):
        same = torch.equal(ours, theirs)
        assert same == (ours.ndim < 2 or min(len(ours), ours[0].numel()) < LEAST_SIDE), name


def test_a_run_through_a_checkpoint_ends_as_one_without(tmp_path):
    straight = network()
    move(straight, whole := Muon(straight, lr=0.01), 3)
    move(straight, whole, 3)

    first = network()
    move(first, optimiser := Muon(first, lr=0.01), 3)
    networks = {"model": OptimisedNetwork(first, optimiser)}
    save_checkpoint(tmp_path / "last.safetensors", RunState(step=3), networks)
    second = network()
    optimised = OptimisedNetwork(second, Muon(second, lr=0.01))
    load_checkpoint(tmp_path / "last.safetensors", {"model": optimised})
    move(second, optimised.optimiser, 3)
    for ours, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_learning_rate_reaches_both_parts():
    net = network()
    optimiser = Muon(net, lr=0.01)
    before = [weight.detach().clone() for weight in net.parameters()]
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    move(net, optimiser, 2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(net.parameters(), before, strict=True))


def test_a_network_without_matrices_or_without_others_is_refused():
    with pytest.raises(ValueError, match=r"at least 8 × 8 .* found 0 and 2"):
        Muon(nn.Linear(4, 4), lr=0.01)


def test_a_recipe_with_muon_and_weight_decay_is_refused():
    with pytest.raises(InputError, match=r"weight_decay: expected 0 with kind: muon, found 0\.1"):
        parse_recipe({"base": "tiny", "optimiser": {"kind": "muon", "weight_decay": 0.1}}, where="mine.yaml")
