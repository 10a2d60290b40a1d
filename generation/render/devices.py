"""What Cycles computes on. Images are the same to the byte on CPUs alone; a GPU rounds otherwise."""

import bpy

from objnerf.errors import InputError

_KINDS = ("optix", "cuda", "hip", "metal")


def use_device(device: str) -> str:
    """Choose a device for Cycles.

    Args:
        device: 'cpu', 'optix', 'cuda', 'hip', 'metal', or 'auto' for the first of these GPUs that is
            there, else the CPU.
    Returns:
        The value of `scene.cycles.device`: 'CPU' or 'GPU'.
    Raises:
        InputError: this machine has no such device.
    """
    if device == "cpu":
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in _KINDS if device == "auto" else (device,):
        if _switch_on(preferences, kind):
            return "GPU"
    if device == "auto":
        return "CPU"
    raise InputError(
        f"--device {device}: Cycles finds no {device.upper()} device on this machine. --device cpu (the "
        "default) renders without a GPU, --device auto uses one if there is one"
    )


def _switch_on(preferences: bpy.types.AddonPreferences, kind: str) -> bool:
    try:
        preferences.compute_device_type = kind.upper()
    except TypeError:
        # Not built for this system.
        return False
    preferences.refresh_devices()
    found = [item for item in preferences.devices if item.type == kind.upper()]
    for item in preferences.devices:
        item.use = item in found
    return bool(found)
