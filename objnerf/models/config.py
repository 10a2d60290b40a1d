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
        description="with fixed_locality, don't divide the translation by nss_scale (as in uORF's code)",
    )


class VolumesConfig(BaseModel):
    """Object volumes: the model of the `tiny` and `fast` recipes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["volumes"] = "volumes"
    num_slots: int = Field(8, ge=2, description="slots, the background included: objects at most, and one")
    fixed_locality: bool = Field(
        False, description="the grid in world axes, not in the input view's azimuth frame"
    )
    width: PositiveInt = Field(64, description="channels of the pixel network and the bird's-eye network")
    outline_width: PositiveInt = Field(32, description="channels of the network that outlines objects")
    features: PositiveInt = Field(12, description="channels that a pixel hands to the voxels on its ray")
    mixed: int = Field(6, ge=5, description="channels that a voxel gets from the bird's-eye network")
    cells: PositiveInt = Field(40, description="voxels along each side of the grid")
    layers: PositiveInt = Field(16, description="voxels from the ground to the grid's top")
    half_share: PositiveFloat = Field(1.1, description="half side of the grid, in obj_scale")
    height_share: PositiveFloat = Field(0.9, description="height of the grid, in obj_scale")
    ground_subrays: PositiveInt = Field(2, description="look-ups in the ground along each side of a pixel")
    pattern_cells: int = Field(
        128, ge=16, description="cells along each side of the map of the ground's pattern"
    )
    pattern_share: PositiveFloat = Field(2.0, description="half side of that map, in obj_scale")
    mask_gain: PositiveFloat = Field(
        2.5, description="what an object's opacity is multiplied by before it is left out of the ground"
    )
    mask_steps: tuple[int, int] = Field(
        (250, 750), description="steps over which what is left out of the ground grows"
    )
    sparsity_weight: float = Field(0.003, ge=0, description="weight of the foreground's mean opacity")
    explained_weight: float = Field(
        0.06, ge=0, description="weight of opacity at pixels that other views explain by the background"
    )
    foreign_weight: float = Field(
        0.3, ge=0, description="weight of transparency at pixels whose colours are not the background's"
    )
    floor: float = Field(
        0.07, ge=0, lt=1, description="share of the rays that the foreground is pushed to show in, at least"
    )
    floor_weight: float = Field(1.0, ge=0, description="weight of what is missing to that share")
    decided_weight: float = Field(0.02, ge=0, description="weight of half-transparent rays")
    spread_weight: float = Field(0.01, ge=0, description="weight of the spread of density along rays")
    ramp_steps: int = Field(500, ge=0, description="steps over which the two before grow to their weights")
    volume_weight: float = Field(0.05, ge=0, description="weight of the mean opacity of voxels")
    outline_weight: float = Field(0.3, ge=0, description="weight of the outlines' cross-entropy")
    own_view_weight: float = Field(
        4.0, ge=0, description="weight of the input view's own colours, before another view's background"
    )
    own_view_rays: PositiveInt = Field(128, description="rays of each input view in that loss")
    instance_weight: float = Field(0.1, ge=0, description="weight of the cross-entropy of centres")
    instance_from: int = Field(300, ge=0, description="step from which centres and votes are learned")
    vote_weight: float = Field(0.5, ge=0, description="weight of the votes, beside the centres'")
    distill_weight: float = Field(
        1.0, ge=0, description="weight of the cross-entropy of each view's voxels with the fused volume"
    )
    distill_steps: tuple[int, int] = Field((200, 500), description="steps over which it grows")
    fused_rays: PositiveInt = Field(256, description="rays of each view by which the fused volume is trained")
    fused_colour_weight: float = Field(20.0, ge=0, description="weight of their colours")
    support_weight: float = Field(
        0.1, ge=0, description="weight of voxels of the fused volume that are emptier than those above them"
    )
    detach_instances: bool = Field(False, description="keep gradients of centres and votes out of the volume")
    center_sigma: PositiveFloat = Field(0.4, description="of the centre heatmap's targets, world units")
    center_threshold: float = Field(0.3, description="height that a centre needs")
    center_apart: PositiveInt = Field(3, description="least distance of two centres, cells")
    owner_softness: PositiveFloat = Field(
        0.3, description="distance at which a cell is undecided, world units"
    )
    split_sigma: PositiveFloat = Field(1.6, description="blur of the fused volume before it is split, cells")
    split_reach: PositiveInt = Field(3, description="least distance of two summits, cells")
    split_threshold: float = Field(0.35, description="opacity from which a column belongs to an object")


ModelConfig = Annotated[UorfConfig | VolumesConfig, Field(discriminator="kind")]
