"""What a model is made of, as data: one frozen section of a recipe for each kind of model.

Importing this module loads no torch, so that recipes can be read and printed quickly.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class UorfConfig(BaseModel):
    """The faithful model of uORF (Yu, Guibas, Wu, ICLR 2022): slot attention over a shared encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["uorf"] = "uorf"
    num_slots: int = Field(8, ge=2, description="slots, the background included")
    z_dim: PositiveInt = Field(64, description="width of features and slots")
    bottom: bool = Field(False, description="one more encoder layer, for 128 × 128 inputs")
    attn_iter: PositiveInt = Field(3, description="iterations of slot attention")
    n_freq: int = Field(5, ge=0, description="octaves of the Fourier features of a point")
    n_layers: PositiveInt = Field(3, description="layers of a field before and after its skip")
    fixed_locality: bool = Field(
        False,
        description="locality box and foreground fields in world axes, not in the input view's azimuth frame",
    )
    reference_translation_quirk: bool = Field(
        False,
        description="with fixed_locality, don't divide the translation by nss_scale (the reference's code)",
    )


class PlacesConfig(BaseModel):
    """Slots with explicit places on the ground plane: the model of the `tiny` and `fast` recipes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["places"] = "places"
    num_slots: int = Field(6, ge=2, description="slots, the background included")
    z_dim: PositiveInt = Field(64, description="width of features and slots")
    width: PositiveInt = Field(64, description="width of the fields")
    ground: float = Field(
        0.15, description="height, world units, below which the background may have density in the box"
    )
    place_sigma: PositiveFloat = Field(
        0.6, description="standard deviation of the votes around a place on the ground, world units"
    )
    place_distance: PositiveFloat = Field(
        1.75, description="a new place is at least this far from others, in the end, world units"
    )
    first_place_distance: PositiveFloat = Field(
        1.2, description="the same at the first step; closer, so that no object is overlooked"
    )
    place_distance_steps: int = Field(2000, ge=0, description="steps from the first to the last of these")
    place_half: PositiveFloat = Field(
        2.0, description="half side of the square around its place that a slot's field covers, world units"
    )
    place_height: PositiveFloat = Field(3.2, description="up to where a slot's field reaches, world units")
    place_rounds: PositiveInt = Field(4, description="rounds of expectation maximisation")
    radius: PositiveFloat = Field(0.9, description="radius of a slot before anything is learned, world units")
    boundary: PositiveFloat = Field(
        0.45, description="how soft the boundary between two slots is, world units"
    )
    vote_reach: PositiveFloat = Field(
        2.5, description="how far on the ground a token may vote from the surface it sees, world units"
    )
    gathered_tokens: PositiveInt = Field(80, description="tokens that a slot's content is gathered from")
    lifted: PositiveInt = Field(
        32, description="channels of the features that points look up in the input view"
    )
    fine: PositiveInt = Field(16, description="channels of the features of single pixels, for outlines")
    lift_dropout: float = Field(
        0.1, ge=0, le=1, description="share of the scenes in training whose foreground looks nothing up"
    )
    background_block: PositiveInt = Field(
        8, description="tokens over which what the background looks up is averaged"
    )
    background_detail: bool = Field(
        False,
        description="the background sees the input view itself away from the outlines, not a blurred map: "
        "for patterned floors",
    )
    evidence_steps: int = Field(
        500,
        ge=0,
        description="steps in which objectness is learned from what other views tell (losses.ground); in as "
        "many more the model's own rendering takes over",
    )
    evidence_weight: float = Field(
        1.0, ge=0, description="weight of predicting, from one picture, what other views tell of it"
    )
    seed_threshold: float = Field(
        0.35, ge=0, le=1, description="objectness that a token needs to seed a place"
    )
    seed_noise: float = Field(
        0.6, ge=0, description="noise added to objectness at the first step, falling to 0"
    )
    seed_noise_steps: int = Field(800, ge=0, description="steps after which that noise is 0")
    objectness_weight: float = Field(0.3, ge=0, description="weight of the objectness self-distillation")
    depth_weight: float = Field(
        0.05, ge=0, description="weight of the self-distillation of depths and radii, per world unit"
    )
    vote_weight: float = Field(
        0.1, ge=0, description="weight of the self-distillation of votes, per world unit"
    )
    floor: PositiveFloat = Field(
        0.08, lt=1, description="share of the rays that the foreground is pushed to show in, at least"
    )
    floor_weight: float = Field(0.3, ge=0, description="weight of what is missing to that share")
    sparsity_weight: float = Field(0.15, ge=0, description="weight of the foreground's mean opacity")
    sparsity_from: int = Field(
        100, ge=0, description="step from which that counts; it grows to its full weight in as many steps"
    )
    opaque_from: float = Field(
        0.3, ge=0, lt=1, description="opacity of the foreground along a ray from which it had better be 1"
    )
    opaque_weight: float = Field(0.3, ge=0, description="weight of what such rays lack to that")
    opaque_steps: int = Field(
        1000, ge=0, description="step from which that counts; it grows to its full weight in as many steps"
    )
    fixed_locality: bool = Field(
        False, description="fields in world axes, not in the input view's azimuth frame"
    )


ModelConfig = Annotated[UorfConfig | PlacesConfig, Field(discriminator="kind")]
