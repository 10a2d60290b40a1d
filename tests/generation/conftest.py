"""Datasets that the real Blender made, tiny, once a session; and asset pools to plan from without Blender."""

from collections.abc import Callable
from pathlib import Path

import pytest

from generation.assets.catalogue import Catalogue
from generation.jobs import AssetFolders, Workers, generate_dataset
from generation.plan.plan import AssetPool
from generation.plan.request import GenerationRequest, build_request

PlanSetting = tuple[GenerationRequest, AssetPool]


@pytest.fixture(scope="session")
def room_request() -> GenerationRequest:
    """A small Room-Diverse."""
    return build_request("room-diverse", scenes=2, size=(64, 48), samples=2, shapes=12, backgrounds=6, seed=3)


@pytest.fixture(scope="session")
def room_dataset(tmp_path_factory: pytest.TempPathFactory, room_request: GenerationRequest) -> Path:
    """Two rooms of `room_request`, every pass."""
    out = tmp_path_factory.mktemp("room") / "dataset"
    request = room_request.model_copy(update={"passes": ("depth", "mask", "normal", "albedo", "amodal")})
    report = generate_dataset(request, out, workers=Workers(1))
    assert not report.failed, report.failed
    return out


@pytest.fixture(scope="session")
def clevr_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of solids, whose centres surely lie inside them."""
    out = tmp_path_factory.mktemp("clevr") / "dataset"
    request = build_request("clevr-567", scenes=2, size=(64, 48), samples=1, seed=1)
    report = generate_dataset(request, out, workers=Workers(1))
    assert not report.failed, report.failed
    return out


@pytest.fixture(scope="session")
def setting() -> Callable[..., PlanSetting]:
    """Makes a request and its pool: ``setting("room-diverse", scenes=3)``."""
    catalogue = AssetFolders().load()
    assert isinstance(catalogue, Catalogue)

    def make(preset: str = "room-diverse", **values: object) -> PlanSetting:
        values = {"shapes": 20, "backgrounds": 3, "scenes": 10, **values}
        request = build_request(preset, **values)  # type: ignore[arg-type]
        return request, AssetPool.draw(catalogue, request)

    return make
