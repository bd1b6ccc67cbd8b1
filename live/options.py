"""What the command line of live tracking sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass
class LiveOptions:
    """Follow objects before a camera, or through a recording as if its camera were running."""

    source: str
    """Where frames come from: realsense, realsense:SERIAL, a .bag, .db3 or .mcap file, the folder of a recording, or
    FILE.py:CLASS for a camera of your own."""
    mesh_file: Path | None = None
    """Mesh of the one object: obj, ply, glb, gltf, stl, off. Default: the one in the recording's mesh/ folder."""
    reference_views: Path | None = None
    """Posed pictures of the one object, of which a mesh is made once and kept (docs/reference_views.md)."""
    objects: list[str] = field(default_factory=list)
    """Several objects: NAME=MESH for each, or NAME=FOLDER of reference views."""
    mask: list[str] = field(default_factory=list)
    """Where the object is in the first frame: auto (look for it), X,Y (a point on it), X,Y,WIDTH,HEIGHT (a box),
    "X,Y X,Y X,Y" (an outline) or the file of a mask; NAME=... for one of several. Default: the recording's own mask,
    of several objects masks/NAME/ of each one's name, else auto."""
    object_id: str | None = None
    """Which object of a recording with several: a BOP number, or the name of a folder in masks/. To follow several,
    pass --objects with these names."""
    mesh_unit: Literal["auto", "m", "cm", "mm"] = "auto"
    """Unit of the mesh files; auto is told by their size."""
    symmetry: str | None = None
    """Symmetries of the one object, as for recordings. Default: the file beside its mesh."""
    real_time: bool = False
    """Let a recording's frames come at their time, and skip those that come too fast. Default: every frame, as fast as
    it goes."""
    fps: float | None = None
    """Frames per second of the camera, or of a folder that does not say."""
    size: tuple[int, int] | None = None
    """Width and height of the camera's pictures."""
    color_topic: str | None = None
    """Of a ROS bag with several cameras; also depth_topic and info_topic."""
    depth_topic: str | None = None
    """Depth of a ROS bag."""
    info_topic: str | None = None
    """Intrinsics of a ROS bag."""
    aligned: bool = False
    """Take the depth of a ROS bag to be aligned to colour, whatever the bag says."""
    depth_scale: float | None = None
    """Metres per depth unit, in place of what the source says."""
    cropped: bool = False
    """The pictures are cut out of larger ones: accept a principal point that looks like that of another resolution."""
    smoothing: bool = True
    """Write the mean of the poses while nothing in the picture of an object moves; without latency where it does."""
    viewer: bool = False
    """Show it in the browser."""
    host: str = "127.0.0.1"
    """Address of the viewer; 0.0.0.0 lets every machine in the network see the pictures and press the buttons."""
    port: int = 8080
    """Of the viewer."""
    poses: str | None = None
    """Write poses as JSON lines: - for standard output, a file, or tcp://HOST:PORT to listen there."""
    mcap: Path | None = None
    """Write a recording for Foxglove and rerun."""
    record: Path | None = None
    """Keep what the camera delivers in this new folder, to be replayed; the viewer's button makes folders of its own,
    captures/<time>, if this is not given."""
    seconds: float | None = None
    """End so long after the networks are ready, also while the object is still being looked for."""
    schedule: str = "auto"
    """Of registrations: full, thorough or pruned."""
    weights: str = "auto"
    """Name of a set of weights, or a folder."""
    quantized: str | None = None
    """A quantised variant of the networks (docs/quantization.md)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
