"""Cost of one faithful uORF training step: ours, the plain dense formulation's, uORF's own.

    python benchmarks/reference.py                          # K = 5, 4 views of 64² rays × 64 samples
    python benchmarks/reference.py --side 32 --samples 32   # an eighth of the points
    python benchmarks/reference.py --peer PATH              # also a checkout of uORF's code

A step is: encode one view, render all rays of four, mean squared error, backward, Adam. Each contender runs
in its own process, with the same weights, pictures and poses, and reports the time of its fastest step, its
peak resident memory, its loss and the norm of its gradient: a faster answer must be seen to be the same one.
The dense formulation decodes every point for every slot from joined inputs and multiplies by zero outside the
box. At the full size it takes about 17 GB.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.models import UORF, UorfConfig
from objnerf.models.fields import fourier_features
from objnerf.rendering.rays import camera_directions, points_on_rays, uniform_depths, world_rays

GEOMETRY = SceneScale()
DISTANCE, ELEVATION = 12.39, 40.3
"""Of the camera in the format's documentation, world units and degrees."""


@dataclass(frozen=True)
class Scene:
    """One scene's views, and their rays."""

    images: Float[Tensor, "views 3 side side"]
    world_from_camera: Float[Tensor, "views 4 4"]
    origins: Float[Tensor, "1 rays 3"]
    directions: Float[Tensor, "1 rays 3"]
    depths: Float[Tensor, "1 rays samples"]


def make_scene(views: int, side: int, samples: int) -> Scene:
    """Noise seen from cameras at the documented distance and elevation, all around."""
    angles = 2 * np.pi * np.arange(views) / views
    across, up = DISTANCE * np.cos(np.radians(ELEVATION)), DISTANCE * np.sin(np.radians(ELEVATION))
    eyes = [np.array([across * np.cos(angle), across * np.sin(angle), up]) for angle in angles]
    poses = torch.from_numpy(np.stack([look_at(eye, np.zeros(3)) for eye in eyes])).float()
    grid = camera_directions(GEOMETRY.focal_ratio, side, side).flatten(0, 1)
    origins, directions = (rays.flatten(0, 1)[None] for rays in world_rays(grid, poses))
    depths = uniform_depths(GEOMETRY.near, GEOMETRY.far, samples).expand(*origins.shape[:2], samples)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((views, 3, side, side), generator=generator) * 2 - 1
    return Scene(images, poses, origins, directions, depths)


def make_model(slots: int, z_dim: int) -> UORF:
    """The same weights in every process, and slots that start at their mean."""
    torch.manual_seed(0)
    model = UORF(UorfConfig(num_slots=slots, z_dim=z_dim), GEOMETRY)
    with torch.no_grad():
        for spread in (model.slot_attention.slots_logsigma, model.slot_attention.slots_logsigma_bg):
            spread.fill_(-30.0)
    return model


def our_render(model: UORF, scene: Scene, locality: bool, chunk: int | None) -> Float[Tensor, "rays 3"]:
    """What the faithful recipes run."""
    code = model.encode(scene.images[:1], scene.world_from_camera[:1])
    rendering = model.render(
        code,
        scene.origins,
        scene.directions,
        scene.depths,
        locality=locality,
        chunk_rays=chunk,
    )
    return rendering.rgb[0]


def dense_render(model: UORF, scene: Scene, locality: bool) -> Float[Tensor, "rays 3"]:
    """The paper's formulation, written plainly: all points, all slots, joined inputs, products with zero."""
    code = model.encode(scene.images[:1], scene.world_from_camera[:1])
    fields = model.decoder
    slots = code.slots[0]
    points = points_on_rays(scene.origins[0], scene.directions[0], scene.depths[0]).flatten(0, 1)
    points = points / GEOMETRY.nss_scale
    count, others = len(points), len(slots) - 1

    background = torch.cat([fourier_features(points, fields.octaves), slots[:1].expand(count, -1)], dim=1)
    hidden = fields.b_before(background)
    background_raws = fields.b_after(torch.cat([background, hidden], dim=1))[None]

    local = (points @ code.field_from_world[0, :3, :3].T).expand(others, -1, -1)
    outside = (local.abs() > GEOMETRY.obj_scale / GEOMETRY.nss_scale).any(dim=-1)
    contents = slots[1:, None].expand(-1, count, -1)
    foreground = torch.cat(
        [fourier_features(local.flatten(0, 1), fields.octaves), contents.flatten(0, 1)], dim=1
    )
    hidden = fields.f_after(torch.cat([foreground, fields.f_before(foreground)], dim=1))
    density = fields.f_after_shape(hidden).view(others, count, 1)
    if locality:
        density = density * ~outside[..., None]
    colour = fields.f_color(fields.f_after_latent(hidden)).view(others, count, 3)

    raws = torch.cat([background_raws, torch.cat([colour, density], dim=-1)])
    density = raws[..., 3:].relu()
    shares = density / (density.sum(dim=0) + 1e-5)
    masked = torch.cat([(raws[..., :3].tanh() + 1) / 2, density], dim=-1) * shares
    mixed = masked.sum(dim=0).unflatten(0, scene.depths.shape[1:])

    steps = scene.depths[0].diff(dim=-1) / GEOMETRY.depth_range
    steps = torch.cat([steps, torch.full_like(steps[:, :1], 1e-2)], dim=-1)
    steps = steps * scene.directions[0].norm(dim=-1, keepdim=True)
    alpha = 1 - torch.exp(-mixed[..., 3] * steps)
    passed = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=-1).cumprod(dim=-1)[:, :-1]
    return ((alpha * passed)[..., None] * mixed[..., :3]).sum(dim=1)


def peer_render(checkout: Path, model: UORF, side: int, samples: int) -> Callable[[Scene, bool], Tensor]:
    """uORF's own networks, loaded with our weights, and its own sampling and compositing.

    Its ``models/model.py`` and ``models/projection.py`` are imported as they are; torchvision and the CUDA
    operators beside them, which a step without perceptual and adversarial loss doesn't touch, are left out.
    """
    package = types.ModuleType("peer")
    package.__path__ = [str(checkout / "models")]
    operators = types.ModuleType("peer.op")
    operators.conv2d_gradfix = None  # type: ignore[attr-defined]
    sys.modules |= {"peer": package, "peer.op": operators}
    if importlib.util.find_spec("torchvision") is None:
        vision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
        models.vgg16 = None  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": vision, "torchvision.models": models}
    networks: Any = importlib.import_module("peer.model")
    projection: Any = importlib.import_module("peer.projection").Projection(
        focal_ratio=GEOMETRY.focal_ratio,
        near=GEOMETRY.near,
        far=GEOMETRY.far,
        frustum_size=[side, side, samples],
        nss_scale=GEOMETRY.nss_scale,
        render_size=(side, side),
    )
    config = model.config
    encoder = networks.Encoder(3, z_dim=config.z_dim, bottom=config.bottom)
    attention = networks.SlotAttention(config.num_slots, config.z_dim, config.z_dim, config.attn_iter)
    decoder = networks.Decoder(
        n_freq=config.n_freq,
        input_dim=6 * config.n_freq + 3 + config.z_dim,
        z_dim=config.z_dim,
        n_layers=config.n_layers,
        locality_ratio=GEOMETRY.obj_scale / GEOMETRY.nss_scale,
    )
    # The peer's modules take the place of ours, so that the optimiser and the gradient's norm see them.
    for name, module in (("encoder", encoder), ("slot_attention", attention), ("decoder", decoder)):
        module.load_state_dict(getattr(model, name).state_dict())
        setattr(model, name, module)

    def render(scene: Scene, locality: bool) -> Float[Tensor, "rays 3"]:
        decoder.locality = locality
        slots, _ = attention(encoder(scene.images[:1]).flatten(start_dim=2).permute(0, 2, 1))
        slots = slots[0]
        points, depths, directions = projection.construct_sampling_coor(scene.world_from_camera)
        frame = model.field_from_world(scene.world_from_camera[:1])[:, :3, :3]
        foreground = points[None].expand(len(slots) - 1, -1, -1)
        if "fg_transform" in decoder.forward.__code__.co_varnames:
            answer = decoder(points, foreground, slots, frame)
        else:  # the code's first version turns the points itself
            answer = decoder(points, (frame[None] @ foreground[..., None]).squeeze(-1), slots)
        views = len(scene.images)
        raws = answer[0].view(views, samples, side, side, 4).permute(0, 2, 3, 1, 4).flatten(0, 2)
        return networks.raw2outputs(raws, depths, directions)[0]

    return render


def run_step(contender: str, settings: argparse.Namespace) -> dict[str, float]:
    """Some steps of one contender, in this process."""
    torch.set_num_threads(settings.threads)
    scene = make_scene(settings.views, settings.side, settings.samples)
    model = make_model(settings.slots, settings.z_dim)
    locality = not settings.no_box
    if contender == "peer":
        with_peer = peer_render(settings.peer, model, settings.side, settings.samples)
    target = scene.images.movedim(1, -1).flatten(0, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4)
    before = _peak_memory()
    seconds, figures = [], {}
    for step in range(settings.steps):
        begun, busy = time.perf_counter(), time.process_time()
        if contender == "ours":
            rgb = our_render(model, scene, locality, settings.chunk or None)
        elif contender == "dense":
            rgb = dense_render(model, scene, locality)
        else:
            rgb = with_peer(scene, locality)
        loss = F.mse_loss(rgb * 2 - 1, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
            figures = {"loss": loss.item(), "gradient": torch.stack(squares).sum().sqrt().item()}
        optimiser.step()
        seconds.append((time.perf_counter() - begun, time.process_time() - busy))
    return {
        "seconds": min(wall for wall, _ in seconds),
        "cpu_seconds": min(cpu for _, cpu in seconds),
        "peak_gb": _peak_memory(),
        "start_gb": before,
        **figures,
    }


def _peak_memory() -> float:
    """Largest resident memory of this process so far, GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def compare(settings: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """Each contender in a process of its own, one after the other."""
    contenders = ["ours", "dense"] + ["peer"] * (settings.peer is not None)
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # Threads that wait should sleep: on a machine with other work, spinning ones would be what is measured.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    results: dict[str, Any] = {}
    for contender in contenders:
        print(f"{contender} …", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, *arguments, "--only", contender]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            killed = " (out of memory?)" if done.returncode == -9 else ""
            raise SystemExit(f"{contender} ended with status {done.returncode}{killed}")
        results[contender] = json.loads(done.stdout)
    return results


def report(results: dict[str, Any]) -> str:
    """The figures as a Markdown table; ratios are to ours."""
    ours = results["ours"]
    lines = [
        "| | seconds a step | CPU seconds | peak GB | time, ours = 1 | peak, ours = 1 | loss | gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in results.items():
        times, memory = figures["seconds"] / ours["seconds"], figures["peak_gb"] / ours["peak_gb"]
        lines.append(
            f"| {name} | {figures['seconds']:.2f} | {figures['cpu_seconds']:.2f} | {figures['peak_gb']:.2f} "
            f"| {times:.2f} | {memory:.2f} | {figures['loss']:.6f} | {figures['gradient']:.6f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=64, help="rows and columns of a view")
    parser.add_argument("--samples", type=int, default=64, help="samples a ray")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--slots", type=int, default=5, help="slots, the background included")
    parser.add_argument("--z-dim", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1, help="steps; the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="cores")
    parser.add_argument("--chunk", type=int, default=2048, help="our rays in flight; 0 for all")
    parser.add_argument("--no-box", action="store_true", help="no locality box, as late in training")
    parser.add_argument("--peer", type=Path, help="checkout of uORF's code")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--only", choices=["ours", "dense", "peer"], help="one contender, in this process")
    settings = parser.parse_args(arguments)
    if settings.peer is not None and not (settings.peer / "models" / "model.py").is_file():
        parser.error(f"--peer: no models/model.py in {settings.peer}")
    if settings.only:
        print(json.dumps(run_step(settings.only, settings)))
        return
    results = compare(settings, arguments)
    print(report(results))
    if settings.json:
        settings.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
