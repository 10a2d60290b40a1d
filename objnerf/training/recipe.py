"""Recipes: everything that a training run depends on beside the dataset, as one frozen object.

This module declares their keys; ``recipe_files`` reads and writes them. Importing it loads no torch.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from objnerf.dataset.card import SceneScale
from objnerf.models.config import ModelConfig, UorfConfig

#: (width, height) in pixels.
Size = tuple[PositiveInt, PositiveInt]


class Section(BaseModel):
    """A part of a recipe: frozen, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scale(SceneScale):
    """How the dataset's world is measured. ``dataset.yaml`` is the default of all but the last."""

    own_intrinsics: bool = Field(
        True,
        description="see views that have intrinsics of their own (_intrinsics.txt) through these; "
        "--focal-ratio turns it off",
    )


class Stage(Section):
    """A stretch of the training with one image size and one way of choosing the rays that are rendered."""

    name: str
    until: PositiveFloat = Field(
        description="where the stage ends, in the recipe's clock; the last one ends the run"
    )
    size: Size = Field(description="(width, height) that views are resized to before rays are drawn, pixels")
    supervision: Literal["rays", "novel", "patches", "images"] = Field(
        "rays",
        description="random rays; random rays of novel views only, each view being the input in turn; one "
        "random square crop of every view; or whole views",
    )
    rays: PositiveInt = Field(
        128, description="rays of an input view in a step, spread over the views (supervision: rays, novel)"
    )
    patch: PositiveInt = Field(64, description="side of a crop, pixels (supervision: patches)")

    @model_validator(mode="after")
    def _patch_fits(self) -> "Stage":
        if self.supervision == "patches" and self.patch > min(self.size):
            raise ValueError(f"a patch of {self.patch} pixels does not fit into a size of {self.size}")
        return self


class Batch(Section):
    """What one step uses."""

    scenes: PositiveInt = Field(1, description="scenes a step, on each process")
    views: PositiveInt = Field(4, description="views of each scene; the first one drawn is the input view")
    accumulate: PositiveInt = Field(
        1, description="steps whose gradients are averaged before the weights move"
    )
    mirror: bool = Field(False, description="show half of the scenes mirrored, cameras and all")
    permute_colours: bool = Field(
        False, description="swap red, green and blue at random, alike in all of a scene's views"
    )


class Sampling(Section):
    """Samples along a ray, between ``near`` and ``far``."""

    samples: int = Field(64, ge=2, description="samples a ray in training")
    jitter: bool = Field(
        False, description="each sample uniform in its own interval instead of on a fixed grid"
    )
    eval_samples: int = Field(256, ge=2, description="samples a ray in previews and evaluation")
    chunk: PositiveInt = Field(4096, description="rays rendered at a time where no gradient is needed")
    training_chunk: PositiveInt | None = Field(
        None,
        description="rays of a scene rendered at a time in training, whose activations are computed again in "
        "the backward pass to save memory; null for all at once",
    )


class Optimiser(Section):
    """The optimiser of the scene model."""

    kind: Literal["adam", "muon"] = Field(
        "adam", description="muon: weight matrices by their orthogonalised momentum, the rest by Adam"
    )
    lr: PositiveFloat = Field(3e-4, description="learning rate at the end of the warm-up")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of Adam's first and second moment")
    eps: PositiveFloat = 1e-8
    momentum: float = Field(0.95, ge=0, lt=1, description="of muon's matrices")
    weight_decay: NonNegativeFloat = Field(0.0, description="Adam's L2 penalty; muon has none")
    clip: NonNegativeFloat = Field(0.0, description="largest norm of the gradient; 0 for no limit")

    @model_validator(mode="after")
    def _muon_has_no_weight_decay(self) -> "Optimiser":
        if self.kind == "muon" and self.weight_decay > 0:
            raise ValueError(f"weight_decay: expected 0 with kind: muon, found {self.weight_decay:g}")
        return self


class Schedule(Section):
    """Learning rate over time: linear warm-up, then halving every ``attn_decay_steps``, exponentially."""

    warmup_steps: NonNegativeInt = Field(1000, description="ticks until the full learning rate")
    attn_decay_steps: PositiveInt = Field(200_000, description="ticks in which the learning rate halves")
    by: Literal["step", "epoch"] = Field(
        "step",
        description="what a tick is; with epoch, the two numbers above count epochs, as in uORF",
    )
    stages: tuple[str, ...] | None = Field(
        None, description="stages in which the learning rate moves (uORF: only coarse); null for all"
    )
    cool_to: float | None = Field(
        None,
        ge=0,
        le=1,
        description="beside that, the learning rate falls along half a cosine to this share of itself at the "
        "end of the run, in steps or in --max-minutes, whichever comes first; null: it doesn't",
    )


class Locality(Section):
    """The locality box, outside of which foreground slots have no density."""

    until: NonNegativeFloat | None = Field(
        None, description="the box is removed here, in the recipe's clock; null: never"
    )


class Losses(Section):
    """Weights of the parts of the loss that every recipe has."""

    colour: NonNegativeFloat = Field(1.0, description="mean squared error of images in [-1, 1]")
    depth: NonNegativeFloat = Field(
        0.0,
        description="weight of the likelihood of the dataset's depth maps: one point on the surface and one "
        "before it a ray, as in ObSuRF. Results are not comparable with learning from images only",
    )


class Perceptual(Section):
    """Distance of VGG16 features between rendered and real patches."""

    start: NonNegativeFloat = Field(0.0, description="first moment at which it counts, in the recipe's clock")
    weight: NonNegativeFloat = 0.006
    weights: Path | None = Field(None, description="file of VGG16 weights; null: torch's usual cache")


class Adversarial(Section):
    """Discriminator on rendered patches, non-saturating loss, R1 penalty; once it starts, steps alternate."""

    start: NonNegativeFloat = Field(
        20.0, description="from here every other step is the discriminator's, in the clock"
    )
    generator_after: NonNegativeFloat = Field(
        5.0, description="how long the discriminator trains alone before the generator goes on, in the clock"
    )
    weight: NonNegativeFloat = Field(0.01, description="weight in the generator's loss")
    lr: PositiveFloat = Field(1e-3, description="the discriminator's learning rate (Adam)")
    betas: tuple[float, float] = (0.0, 0.9)
    r1_weight: NonNegativeFloat = 10.0
    r1_every: PositiveInt = Field(32, description="steps between two R1 updates")
    width: PositiveInt = Field(64, description="channels of the discriminator's first layer")


class HeldOut(Section):
    """Scenes that are never trained on: the last ones of the dataset.

    Of a dataset of one scene the last views are held out instead.
    """

    share: float = Field(
        0.1, ge=0, lt=1, description="share of the scenes, rounded; at least one when it is over 0"
    )
    scenes: NonNegativeInt | None = Field(None, description="their number, instead of a share")


class Evaluation(Section):
    """Metrics and previews made while training, on held-out scenes."""

    every: NonNegativeInt = Field(
        1000, description="steps between two evaluations; 0 for none before the end"
    )
    scenes: PositiveInt = Field(4, description="held-out scenes that are evaluated, at most")
    size: Size = Field((64, 64), description="(width, height) of the rendered views, pixels")
    samples: int = Field(64, ge=2, description="samples a ray, while training")


class Saving(Section):
    """What is written down, and how often."""

    log_every: PositiveInt = Field(50, description="steps between two lines of metrics")
    checkpoint_every: PositiveInt = Field(1000, description="steps between two checkpoints")
    tensorboard: bool = True


class Monitor(Section):
    """Watches for collapse; may start the run again from another derived seed."""

    enabled: bool = True
    restarts: NonNegativeInt = Field(
        0, description="how often a run that collapsed may start again, each time from another derived seed"
    )
    restart_until: NonNegativeInt = Field(2000, description="step after which a run is not started again")
    grace: NonNegativeInt = Field(
        250, description="first steps that are not judged: slots look alike in every run at first"
    )
    window: PositiveInt = Field(100, description="steps whose metrics are averaged before they are judged")
    least_foreground: float = Field(
        0.004, ge=0, le=1, description="mean opacity of the foreground below which it is gone"
    )
    least_gradient: float = Field(
        0.001, ge=0, le=1, description="share of the gradient below which a foreground that is gone is dead"
    )
    most_foreground: float = Field(
        0.95, ge=0, le=1, description="the foreground's part in what rays see, above which it is everything"
    )
    most_explained: float = Field(
        0.5,
        ge=0,
        le=1,
        description="mean opacity of the foreground where other views explain a pixel by the background, "
        "above which it is a fog over everything; measured by object volumes only",
    )
    most_similar: float = Field(
        0.9, ge=0, le=1, description="mean cosine between what two slots show, above which they are one"
    )


class Recipe(Section):
    """All that a training run depends on, beside the dataset."""

    name: str = "custom"
    summary: str = Field("", description="what the recipe is for, in a sentence")
    model: ModelConfig = Field(default_factory=UorfConfig)
    scale: Scale = Scale()
    input_size: Size = Field(
        (64, 64), description="(width, height) of the images that the encoder sees, pixels"
    )
    clock: Literal["epoch", "step"] = Field(
        "epoch", description="unit of every `until` and `start`; an epoch shows each training scene once"
    )
    stages: tuple[Stage, ...] = Field(
        (Stage(name="coarse", until=1200.0, size=(64, 64), supervision="images"),),
        description="one after the other, from coarse to fine",
    )
    batch: Batch = Batch()
    sampling: Sampling = Sampling()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    locality: Locality = Locality()
    losses: Losses = Losses()
    perceptual: Perceptual | None = None
    adversarial: Adversarial | None = None
    held_out: HeldOut = HeldOut()
    evaluation: Evaluation = Evaluation()
    saving: Saving = Saving()
    monitor: Monitor = Monitor()
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32", description="of the networks; volume rendering is always float32"
    )
    compile: bool = Field(False, description="torch.compile the encoder and the fields")
    record: bool = Field(
        True, description="on a GPU, record a step once and replay it, where the model allows that"
    )
    seed: NonNegativeInt = Field(0, description="0 is a seed like any other")

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if not self.stages:
            raise ValueError("stages: at least one stage is needed")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages need different names, got {names}")
        ends = [stage.until for stage in self.stages]
        if any(later <= earlier for earlier, later in pairwise(ends)):
            raise ValueError(f"each stage must end after the one before it, got until = {ends}")
        unknown = [name for name in self.schedule.stages or () if name not in names]
        if unknown:
            raise ValueError(f"schedule.stages names {unknown}, but the stages are {names}")
        # Encoders halve the image two or three times and join it with what they had before.
        factor = 4 if isinstance(self.model, UorfConfig) and not self.model.bottom else 8
        if any(side % factor for side in self.input_size):
            raise ValueError(
                f"input_size: this model needs a width and height that are multiples of {factor}, "
                f"got {self.input_size[0]} × {self.input_size[1]}"
            )
        if self.perceptual is not None or self.adversarial is not None:
            rays = [stage.name for stage in self.stages if stage.supervision in {"rays", "novel"}]
            if rays:
                raise ValueError(
                    "perceptual and adversarial losses need patches or images, but stage "
                    f"{rays[0]} draws single rays"
                )
        if self.adversarial is not None:
            sides = {stage.patch if stage.supervision == "patches" else stage.size for stage in self.stages}
            shapes = {(side, side) if isinstance(side, int) else side for side in sides}
            if len(shapes) > 1 or any(width != height for width, height in shapes):
                raise ValueError(
                    "the discriminator needs square images of one size in all stages "
                    f"(patches, or whole images of that size), got {sorted(shapes)}"
                )
        return self


class DatasetFacts(Section):
    """What a run remembers of the dataset that it was trained on."""

    path: str = Field(description="the folder, as an absolute path on the machine that trained")
    scenes: PositiveInt
    views: PositiveInt
    image_size: Size
    train_scenes: tuple[int, ...]
    held_out_scenes: tuple[int, ...]
    held_out_views: int = Field(
        0, ge=0, description="last views of each scene that were held out, where there is a single scene"
    )
    focal_ratio: tuple[PositiveFloat, PositiveFloat] | None = Field(
        None, description="what its dataset.yaml states, whatever the run uses; null where it states nothing"
    )
    files: str | None = Field(
        None, description="checksum of the names and sizes of the views' files; a resumed run has the same"
    )


class RunConfig(Section):
    """The content of a run's ``config.yaml``."""

    format_version: Literal[1] = 1
    objnerf_version: str
    recipe: Recipe
    dataset: DatasetFacts
    perceptual_features: Literal["vgg16", "gradient-pyramid"] | None = Field(
        None, description="what the perceptual loss rests on; the stand-in where VGG16's weights are missing"
    )
