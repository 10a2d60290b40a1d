"""Places: geometry decides who may be where, samples go where something can be, slots can be moved."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import Pinhole
from objnerf.dataset.index import open_dataset
from objnerf.errors import InputError
from objnerf.models import PlacesConfig, SceneGeometry, build_model
from objnerf.models.places import NOWHERE, Places, PlacesCode
from objnerf.rendering.rays import camera_directions, pinhole_tensor, uniform_depths, world_rays
from objnerf.training.augment import mirror
from objnerf.training.data import Batch

WIDTH, HEIGHT = 32, 24
FOCAL = (350 / 320, 350 / 240)
GEOMETRY = SceneGeometry(6.0, 20.0, 7.0, 4.5, FOCAL)


@pytest.fixture
def model() -> Places:
    """Untrained, but with every head giving something."""
    torch.manual_seed(0)
    model = build_model(PlacesConfig(num_slots=4, z_dim=16, width=16, lifted=8), GEOMETRY)
    assert isinstance(model, Places)
    torch.nn.init.normal_(model.token_head.weight, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def poses(data: Path) -> torch.Tensor:
    """First and second view of three scenes: scenes × 2 × 4 × 4."""
    scenes = open_dataset(data / "blocks").scenes.values()
    found = [[view.pose() for view in scene.views[:2]] for scene in scenes]
    return torch.tensor(np.array(found), dtype=torch.float32)


@pytest.fixture
def code(model: Places, poses: torch.Tensor) -> PlacesCode:
    """Three scenes, each with slots at two known places and one slot without."""
    images = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 2 - 1
    code = model.encode(images, poses[:, 0])
    places = torch.tensor([[NOWHERE, NOWHERE], [1.0, 0.5], [-2.0, -1.0], [NOWHERE, NOWHERE]])
    present = torch.tensor([True, True, True, False])
    return replace(code, places=places.expand(3, 4, 2), present=present.expand(3, 4))


def world_points(code: PlacesCode, in_field: list[list[float]]) -> torch.Tensor:
    """Points of the field's frame, in the world of every scene."""
    return torch.tensor(in_field) @ code.field_from_world[:, :3, :3]


def test_who_may_be_where(model: Places, code: PlacesCode) -> None:
    """Background outside the box and below the ground only, slots around their places only."""
    at = [
        [1.0, 0.5, 1.0],  # over place 1
        [-2.0, -1.0, 1.0],  # over place 2
        [1.0, 0.5, 0.1],  # below the ground's 0.15
        [4.0, 4.0, 1.0],  # in the box, away from both
        [0.0, 0.0, 4.7],  # above the box
        [1.0, 0.5, 3.4],  # in the box, above what a slot reaches
    ]
    dense = model.decode(code, world_points(code, at), locality=True).density > 0
    expected = torch.tensor(
        [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool
    )
    assert torch.equal(dense, expected.expand(3, 4, 6))


def test_nearer_place_owns_a_point(model: Places, code: PlacesCode) -> None:
    """Places 1 and 2 are 3.35 apart and reach 2: midway both may be, elsewhere the nearer one wins."""
    even = replace(code, radii=torch.ones(3, 4))
    middle, nearer = [-0.5, -0.25, 1.0], [0.0, 0.0, 1.0]
    relative = torch.tensor([middle, nearer])[:, :2] - even.places[:, 1:, None]
    reach = torch.ones(relative.shape[:-1], dtype=torch.bool)
    reach[:, 2] = False
    own = model._ownership(even, relative, reach)
    assert own[:, :2, 0].tolist() == [[0.5, 0.5]] * 3
    # Squares of distances: 1 + 0.25 and 4 + 1, so exp(-3.75 / (2 · 0.45²)) is left for the other.
    assert own[0, 1, 1].item() == pytest.approx(1 / (1 + math.exp(3.75 / (2 * 0.45**2))), rel=1e-3)


def test_scenes_do_not_see_each_other(model: Places, code: PlacesCode) -> None:
    """Asked alone or together with other scenes, a scene answers the same."""
    points = torch.rand(3, 200, 3, generator=torch.Generator().manual_seed(2)) * 12 - 6
    together = model.decode(code, points, locality=True)
    for scene in range(3):
        index = torch.tensor([scene])
        alone = model.decode(code.select_scenes(index), points[index], locality=True)
        torch.testing.assert_close(alone.density, together.density[index])
        torch.testing.assert_close(alone.colour, together.colour[index])


def test_look_up(model: Places, poses: torch.Tensor) -> None:
    """A map that holds its own column and row: points that pixels see find the pixel they are seen in."""
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    maps = torch.stack([torch.stack([columns, rows]) + 100 * scene for scene in range(3)])
    directions = camera_directions(FOCAL, 16, 12).flatten(0, 1)
    origins, directions = world_rays(directions.expand(3, -1, 3), poses[:, 0])
    points = origins + 11.0 * directions
    scene = torch.arange(3).repeat_interleave(points.shape[1])
    found = model._look_up(maps, torch.linalg.inv(poses[:, 0]), scene, points.flatten(0, 1))
    torch.testing.assert_close(found, maps.flatten(2).transpose(1, 2).flatten(0, 1), rtol=1e-4, atol=2e-3)
    behind = origins[:, 0] - 3 * directions[:, 0]
    nothing = model._look_up(maps, torch.linalg.inv(poses[:, 0]), torch.arange(3), behind + 100)
    assert (nothing == 0).all()


def test_moved_slot(model: Places, code: PlacesCode) -> None:
    """What a slot says at a point, it says after a move at the moved point, colour and all."""
    only = code.delete(2)
    offset = torch.tensor([0.5, -0.8, 0.0])
    points = world_points(code, [[1.0, 0.5, 1.0], [1.5, 0.0, 0.4], [0.2, 1.9, 2.0]])
    before = model.decode(only, points, locality=False)
    after = model.decode(only.move(1, offset), points + offset, locality=False)
    assert (before.density[:, 1] > 0).all()
    torch.testing.assert_close(after.density[:, 1], before.density[:, 1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after.colour[:, 1], before.colour[:, 1], rtol=1e-3, atol=1e-4)


def test_copied_and_deleted_slots(model: Places, code: PlacesCode) -> None:
    """A copy elsewhere looks like the original; a deleted slot has no density."""
    copied = code.duplicate(1, torch.tensor([0.0, 0.0, 0.0])).delete(2).delete(1)
    points = world_points(code, [[1.0, 0.5, 1.0]])
    original = model.decode(code.delete(2), points, locality=True)
    copy = model.decode(copied, points, locality=True)
    assert copy.density.shape[1] == 5
    torch.testing.assert_close(copy.density[:, 4], original.density[:, 1])
    torch.testing.assert_close(copy.colour[:, 4], original.colour[:, 1])
    assert (copy.density[:, 1] == 0).all()


def test_background_of_another_scene(model: Places, code: PlacesCode) -> None:
    """With the next scene's background: its density and colour outside the box, the own objects within."""
    order = torch.tensor([1, 2, 0])
    other = code.select_scenes(order)
    points = torch.rand(3, 100, 3, generator=torch.Generator().manual_seed(3)) * 12 - 6
    mixed = model.decode(code.with_background(other), points, locality=True)
    own = model.decode(code, points, locality=True)
    torch.testing.assert_close(mixed.density[:, 1:], own.density[:, 1:])
    torch.testing.assert_close(mixed.colour[:, 1:], own.colour[:, 1:])
    theirs = model.decode(other, points, locality=True)
    outside = (own.density[:, 0] > 0) & (theirs.density[:, 0] > 0)
    assert outside.any()
    torch.testing.assert_close(mixed.density[:, 0][outside], theirs.density[:, 0][outside])
    torch.testing.assert_close(mixed.colour[:, 0][outside], theirs.colour[:, 0][outside])


def rays(poses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    directions = camera_directions(FOCAL, 16, 12).flatten(0, 1)
    return world_rays(directions.expand(3, -1, 3), poses[:, 1])


def test_moved_samples(model: Places, code: PlacesCode, poses: torch.Tensor) -> None:
    """Ascending, within near and far, denser where something can be, and lengths that add up.

    Each sample stands for the length over which the sampling density adds up to one sample, so in the reach
    of a place the lengths of the samples add up to the length of the ray in it.
    """
    origins, directions = rays(poses)
    depths = uniform_depths(6.0, 20.0, 512).expand(3, origins.shape[1], 512)
    moved, steps = model._move_samples(code, origins, directions, depths)
    assert (moved.diff(dim=-1) >= -1e-4).all()
    assert moved.min() >= 6 - 1e-4
    assert moved.max() <= 20 + 1e-4
    points = origins[:, :, None] + directions[:, :, None] * moved[..., None]
    frame = code.field_from_world[:, None, None, :3, :3]
    local = (frame @ points[..., None])[..., 0]
    around = (local[..., :2] - code.places[:, None, None, 1]).abs() <= 2
    inside = around.all(-1) & (local[..., 2] > 0.15) & (local[..., 2] <= 3.2)
    summed = (steps * 14 * inside).sum(-1)
    low = torch.tensor([1.0 - 2, 0.5 - 2, 0.15])
    high = torch.tensor([1.0 + 2, 0.5 + 2, 3.2])
    start = (code.field_from_world[:, None, :3, :3] @ origins[..., None])[..., 0]
    along = (code.field_from_world[:, None, :3, :3] @ directions[..., None])[..., 0]
    first, second = (low - start) / along, (high - start) / along
    length = torch.maximum(first, second).amin(-1) - torch.minimum(first, second).amax(-1)
    hit = length > 0.5
    assert hit.any()
    # The sampling density is constant in bins of 14 / 64, one of which may be cut at either end.
    assert ((summed - length)[hit].abs() < 2 * 14 / 64).all()


def test_render_in_chunks(model: Places, code: PlacesCode, poses: torch.Tensor) -> None:
    """Chunks, and activations computed again, change nothing; slots add up to the whole."""
    origins, directions = rays(poses)
    depths = uniform_depths(6.0, 20.0, 12).expand(3, origins.shape[1], 12)
    whole = model.render(code, origins, directions, depths, locality=True, alone=True)
    for recompute in (False, True):
        pieces = model.render(
            code, origins, directions, depths, locality=True, chunk_rays=50, recompute=recompute, alone=True
        )
        torch.testing.assert_close(pieces.rgb, whole.rgb)
        torch.testing.assert_close(pieces.slot_points, whole.slot_points)
        assert pieces.alone is not None
        assert whole.alone is not None
        torch.testing.assert_close(pieces.alone.rgb, whole.alone.rgb)
    torch.testing.assert_close(whole.slot_opacity.sum(-1), whole.opacity, rtol=1e-3, atol=1e-3)
    assert (whole.opacity <= 1 + 1e-4).all()
    assert (whole.slot_opacity[..., 3] == 0).all()


def test_finds_two_heaps_of_votes(model: Places) -> None:
    """Two heaps, one token without objectness between them: two places at their means, two empty slots."""
    generator = torch.Generator().manual_seed(4)
    heaps = [
        torch.tensor(centre) + 0.2 * torch.randn(20, 2, generator=generator)
        for centre in ([1.0, 2], [-2.0, 0])
    ]
    votes = torch.cat([*heaps, torch.tensor([[0.0, -3.0]])])[None]
    probability = torch.cat([torch.full((40,), 0.9), torch.tensor([0.1])])[None]
    places, present, share = model._find_places(votes, torch.full((1, 41), 0.9), probability, None)
    assert present.tolist() == [[True, True, False]]
    found = places[0, :2][places[0, :2, 0].argsort()]
    torch.testing.assert_close(found, torch.stack([heaps[1].mean(0), heaps[0].mean(0)]), atol=0.05, rtol=0)
    assert (share[0, :40].amax(-1) > 0.3).all()
    assert share[0, 40].sum() < 0.02


def test_no_objects_no_places(model: Places) -> None:
    """Nothing is over the threshold: empty slots. While training a place is kept, or nothing could return."""
    votes = torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(5)) * 6 - 3
    probability = torch.full((1, 30), 0.05)
    assert not model._find_places(votes, torch.ones(1, 30), probability, None)[1].any()
    model.train()
    model.calls += 10_000
    assert model._find_places(votes, torch.ones(1, 30), probability, torch.Generator().manual_seed(6))[
        1
    ].any()


@pytest.mark.parametrize(("size", "expected"), [(0.8, 2), (1.5, 1)])
def test_large_objects_are_farther_apart(model: Places, size: float, expected: int) -> None:
    """Votes in two heaps two units apart are two objects of radius 0.8, but one of radius 1.5."""
    model.calls += 10_000
    votes = torch.tensor([[[-1.0, 0.0], [-1.0, 0.1], [1.0, 0.0], [1.0, -0.1]]])
    sizes, probability = torch.full((1, 4), size), torch.full((1, 4), 0.9)
    assert int(model._find_places(votes, sizes, probability, None)[1].sum()) == expected


def test_own_losses_teach_the_encoder_alone(model: Places, code: PlacesCode, poses: torch.Tensor) -> None:
    """Objectness, depth, votes and radii learn from the rendering; the fields don't learn from them."""
    model.train()
    model.foreground.shift = 2.0  # dense enough to be seen by twenty rays
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(3, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1
    found = model.encode(images, poses[:, 0], generator=generator)
    code = replace(found, places=code.places, present=code.present)
    tokens = torch.randint(len(model.token_pixels(WIDTH, HEIGHT)), (3, 20), generator=generator)
    directions = camera_directions(FOCAL, WIDTH, HEIGHT).flatten(0, 1)
    directions = directions[model.token_pixels(WIDTH, HEIGHT)[tokens]]
    origins, directions = world_rays(directions, poses[:, 0])
    depths = uniform_depths(6.0, 20.0, 16).expand(3, 20, 16)
    rendering = model.render(code, origins, directions, depths, locality=True)
    losses = model.own_losses(code, tokens, rendering)
    names = {"objectness", "token_depth", "vote", "radius", "sparsity", "opaque", "floor"}
    assert set(losses) == names
    taught = [losses[name] for name in ("objectness", "token_depth", "vote", "radius")]
    torch.stack(taught).sum().backward(retain_graph=True)
    assert model.token_head.weight.grad is not None
    assert (model.token_head.weight.grad.abs().sum(1) > 0).all()
    assert all(parameter.grad is None for parameter in model.foreground.parameters())
    (losses["sparsity"] + losses["floor"] + rendering.rgb.mean()).backward()
    assert all(parameter.grad is not None for parameter in model.foreground.parameters())


def test_evidence_teaches_its_own_network_alone(model: Places, code: PlacesCode, poses: torch.Tensor) -> None:
    """What other views tell is learned by its own encoder, and what objectness learns then comes from it."""
    model.train()
    images = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(8)) * 2 - 1
    found = model.encode(images, poses[:, 0], generator=torch.Generator().manual_seed(9))
    tokens = torch.arange(20).expand(3, 20)
    origins, directions = rays(poses)
    depths = uniform_depths(6.0, 20.0, 16).expand(3, origins.shape[1], 16)
    rendering = model.render(found, origins, directions, depths, locality=True)
    told = torch.rand(3, HEIGHT * WIDTH, 2, generator=torch.Generator().manual_seed(10)) / 2 + 0.1
    losses = model.own_losses(found, tokens[:, : origins.shape[1]], rendering, told)
    losses["evidence"].backward(retain_graph=True)
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {name for name, _ in model.named_parameters() if name.startswith("evidence_")}
    # By hand: what is known of a pixel is its weight.
    ground, raised = told.unbind(-1)
    likely = raised / (ground + raised)
    says = found.told.flatten(1).sigmoid()
    by_hand = -(ground + raised).clamp(max=1) * (likely * says.log() + (1 - likely) * (1 - says).log())
    torch.testing.assert_close(losses["evidence"], model.config.evidence_weight * by_hand.mean())


def test_objectness_is_told_first(model: Places, code: PlacesCode, poses: torch.Tensor) -> None:
    """While the views are trusted all tokens that they tell of are objects; later those that are rendered."""
    model.train()
    tokens = torch.arange(20).expand(3, 20)
    origins, directions = rays(poses)
    depths = uniform_depths(6.0, 20.0, 16).expand(3, origins.shape[1], 16)
    rendering = model.render(code, origins, directions, depths, locality=True)
    rendering = replace(rendering, slot_opacity=torch.zeros_like(rendering.slot_opacity))
    chosen = tokens[:, : origins.shape[1]]
    told = torch.full((3, HEIGHT * WIDTH, 2), 0.5)
    says = replace(code, told=torch.full_like(code.told, 9.0), objectness=torch.ones_like(code.objectness))
    chance = 1 / (1 + math.exp(-1))
    for calls, by_hand in ((0, -math.log(chance)), (10_000, -math.log(1 - chance))):
        model.calls.fill_(calls)
        objectness = float(model.own_losses(says, chosen, rendering, told)["objectness"])
        assert objectness == pytest.approx(model.config.objectness_weight * by_hand, rel=1e-3)


def test_no_density_where_the_input_view_sees_the_ground(model: Places, code: PlacesCode) -> None:
    """A closed outline takes the density of what projects to it away; an open one leaves it."""
    middle = torch.cat([code.places[:, 1], torch.full((3, 1), 0.5)], dim=-1)
    points = (middle[:, None] - code.field_from_world[:, None, :3, 3]) @ code.field_from_world[:, :3, :3]
    density = []
    for logit in (-20.0, 20.0):
        map_ = code.foreground_map.clone()
        map_[:, -1] = logit
        slots = model.decode(replace(code, foreground_map=map_), points, locality=True)
        density.append(slots.density[:, 1])
    assert density[0].max() < 1e-6 < density[1].min()


def test_the_background_sees_pixels_that_show_the_ground() -> None:
    """Where no outline is near its map has the picture's own colours, elsewhere those of the surroundings."""
    model = Places(PlacesConfig(num_slots=3, z_dim=16, width=16, lifted=4, background_detail=True), GEOMETRY)
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(1, 3, 48, 64, generator=generator) * 2 - 1
    features = torch.rand(1, 16, 24, 32, generator=generator)
    seen = torch.cat([features, torch.nn.functional.avg_pool2d(images, 2)], dim=1)
    ground = torch.full((1, 1, 48, 64), -30.0)
    object_ = ground.clone()
    object_[..., 20, 20] = 30.0
    with torch.no_grad():
        map_ = model._background_map(seen, images, object_)
        plain = model._background_map(seen, images, -ground)
    own = (images + 1) / 2
    torch.testing.assert_close(map_[:, -4:-1, 30:, 30:], own[..., 30:, 30:])
    assert (map_[:, -4:-1, 18:23, 18:23] - own[..., 18:23, 18:23]).abs().mean() > 0.1
    # Blurred over eight tokens, colours of 0 to 1 are close to their mean.
    assert (plain[:, -4:-1] - 0.5).abs().max() < 0.25


def test_token_pixels(model: Places) -> None:
    """Two by two pixels a token: in a 6 × 4 picture the upper left ones are 0, 2, 4 and 12, 14, 16."""
    assert model.token_pixels(6, 4).tolist() == [0, 2, 4, 12, 14, 16]
    assert model.token_columns(6) == 3


def test_sizes_that_do_not_fit(model: Places, poses: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"input_size: expected .* multiples of 4, got 30 × 24"):
        model.encode(torch.zeros(3, 3, 24, 30), poses[:, 0])


def test_mirrored_scene_has_mirrored_ground(model: Places, poses: torch.Tensor) -> None:
    """A mirrored picture from a mirrored camera: every pixel's ground point is mirrored, x alone."""
    origins, directions = rays(poses)
    batch = Batch(
        images=torch.rand(3, 3, HEIGHT, WIDTH),
        world_from_camera=poses[:, 0],
        origins=origins,
        directions=directions,
        depths=torch.zeros(3, origins.shape[1], 2),
        colours=torch.zeros(3, origins.shape[1], 3),
        grid=None,
        tokens=torch.tensor([[0, 17]]).expand(3, 2),
        input_evidence=torch.arange(3 * WIDTH * HEIGHT * 2.0).view(3, -1, 2),
        pinholes=pinhole_tensor([Pinhole((1.0, 1.3), (0.1, -0.05)), Pinhole(FOCAL), Pinhole(FOCAL)]),
    )
    turned = mirror(batch, torch.tensor([True, True, False]), token_columns=16)
    assert torch.linalg.det(turned.world_from_camera[:, :3, :3]).tolist() == pytest.approx(
        [1, 1, 1], abs=1e-5
    )
    assert turned.tokens is not None
    assert turned.tokens.tolist() == [[15, 30], [15, 30], [0, 17]]
    assert turned.input_evidence is not None
    assert batch.input_evidence is not None
    rows = batch.input_evidence.unflatten(1, (HEIGHT, WIDTH))
    moved = turned.input_evidence.unflatten(1, (HEIGHT, WIDTH))  # a pixel that moved kept what is known of it
    torch.testing.assert_close(moved[:2], rows[:2].flip(2))
    torch.testing.assert_close(moved[2], rows[2])

    def ground(each: Batch) -> torch.Tensor:
        frame = model._field_from_world(each.world_from_camera, None)
        return model._ground_points(each.world_from_camera, frame, WIDTH, HEIGHT, each.pinholes)

    before, after = ground(batch), ground(turned)
    torch.testing.assert_close(after[2], before[2])
    torch.testing.assert_close(after[:2, 0], -before[:2, 0].flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[:2, 1], before[:2, 1].flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned.images[:2], batch.images[:2].flip(-1))


def test_each_scene_is_seen_through_its_own_lens(model: Places, poses: torch.Tensor) -> None:
    """The dataset's lens, said for each view, changes nothing; a point is looked up where its lens has it."""
    images = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plain = model.encode(images, poses[:, 0])
    said = model.encode(images, poses[:, 0], pinholes=pinhole_tensor([Pinhole(FOCAL)] * 3))
    for name in ("slots", "token_depth", "votes", "foreground_map"):
        torch.testing.assert_close(getattr(said, name), getattr(plain, name), atol=1e-4, rtol=1e-4)

    lenses = [Pinhole((0.9, 1.2), (0.08, 0.02)), Pinhole(FOCAL), Pinhole((2.0, 2.6))]
    code = model.encode(images, poses[:, 0], pinholes=pinhole_tensor(lenses))
    # Maps that hold each pixel's own column and row, looked up at points on known pixels' rays.
    rows, columns = torch.meshgrid(torch.arange(HEIGHT * 1.0), torch.arange(WIDTH * 1.0), indexing="ij")
    maps = torch.stack([columns, rows]).expand(3, 2, HEIGHT, WIDTH)
    chosen = torch.tensor([5 * WIDTH + 7, 20 * WIDTH + 30, 11 * WIDTH + 16])
    directions = camera_directions(pinhole_tensor(lenses), WIDTH, HEIGHT).flatten(1, 2)
    origins, directions = world_rays(directions[torch.arange(3), chosen][:, None], poses[:, 0])
    points = (origins + 11.0 * directions)[:, 0]
    found = model._look_up(maps, code.camera_from_world, torch.arange(3), points, code.pinholes)
    expected = torch.stack([chosen % WIDTH, chosen // WIDTH], dim=-1).float()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert code.select_scenes(torch.tensor([2])).pinholes is not None
    assert plain.pinholes is None
