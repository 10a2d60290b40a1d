"""Pictures of datasets and results: cameras in 3D, contact sheets, moving pictures.

plotly, trimesh and the video writer are imported inside the functions that need them.
"""

from objnerf.pictures.cameras import write_cameras
from objnerf.pictures.rig import Rig, RigCamera, read_rig
from objnerf.pictures.sheets import contact_sheet
from objnerf.pictures.turntables import write_animation

__all__ = ["Rig", "RigCamera", "contact_sheet", "read_rig", "write_animation", "write_cameras"]
