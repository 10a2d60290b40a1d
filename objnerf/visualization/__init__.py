"""Visualization of datasets and results: cameras in 3D, contact sheets, animations.

plotly, trimesh and the video writer are imported inside the functions that need them.
"""

from objnerf.visualization.animation import write_animation
from objnerf.visualization.camera_plot import CameraPlot, PlottedCamera, read_camera_plot
from objnerf.visualization.cameras import write_cameras
from objnerf.visualization.contact_sheets import contact_sheet

__all__ = [
    "CameraPlot",
    "PlottedCamera",
    "contact_sheet",
    "read_camera_plot",
    "write_animation",
    "write_cameras",
]
