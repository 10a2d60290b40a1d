"""The messages between the parent process and its workers: one JSON object a line."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from generation.assets.catalogue import Catalogue
from generation.assets.manifest import Unit
from generation.plan.plan import ScenePlan
from generation.plan.request import GenerationRequest


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AssetFolders(_Message):
    """Where assets lie on this machine, and how they are meant: the arguments of `Catalogue.load`."""

    manifest: Path | None = None
    shapenet_root: Path | None = None
    meshes: Path | None = None
    textures: Path | None = None
    up: Literal["auto", "y", "z"] | None = None
    unit: Unit | None = None
    mixed: bool = False

    def load(self) -> Catalogue:
        """The catalogue of these folders.

        Raises:
            InputError: the manifest or a folder can't be used.
        """
        return Catalogue.load(
            *(self.manifest, self.shapenet_root, self.meshes, self.textures),
            up=self.up,
            unit=self.unit,
            mixed=self.mixed,
        )


class WorkerSetup(_Message):
    """The first line to a worker: what every scene has in common. Tasks with a plan need no request."""

    request: GenerationRequest | None = None
    assets: AssetFolders
    out: Path
    device: str = "cpu"


class Task(_Message):
    """Make this scene; from its plan where one is given, else from the request."""

    scene: int
    plan: ScenePlan | None = None


class Result(_Message):
    """The outcome of a task.

    Attributes:
        kind: 'ready' once after the start, or 'refused': no worker of this setup can start, so that another
            try is no use; 'done'; 'failed': this scene cannot be made; 'disk': a file could not be written,
            so that going on is no use; 'died': the worker is gone (said by the parent process).
        seconds: the scene's, planning to files.
        seen: least and mean share of an object's silhouette that is visible.
        timing: seconds by what was done.
        memory: the worker's resident size after the scene, bytes.
        log: last lines of the worker's own output, for failures.
    """

    kind: Literal["ready", "refused", "done", "failed", "disk", "died"]
    scene: int = -1
    version: str = ""
    seconds: float = 0.0
    replans: list[str] = []
    objects: int = 0
    assets: list[str] = []
    seen: list[float] = []
    timing: dict[str, float] = {}
    memory: int = 0
    error: str = ""
    log: str = ""
