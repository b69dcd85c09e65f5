"""Cameras by their address; one file per way to reach them.

from edgead.cameras import open_camera

with open_camera("gige://192.168.1.20?height=512") as camera:
    for frame in camera: ...
"""

from __future__ import annotations

from edgead.cameras.addresses import CAMERA_KINDS, is_address, open_camera
from edgead.cameras.base import CameraStatistics, Driver, Frame, FrameStatus
from edgead.cameras.camera import Camera, CameraSettings

__all__ = [
    "CAMERA_KINDS",
    "Camera",
    "CameraSettings",
    "CameraStatistics",
    "Driver",
    "Frame",
    "FrameStatus",
    "is_address",
    "open_camera",
]
