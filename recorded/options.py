"""What the command line of a recording sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from test_data.scenes_folder import AVOCADO


@dataclass
class RecordedOptions:
    """What the command line sets."""

    mesh_file: Path | None = None
    """Mesh of the object: obj (with mtl and texture), ply, glb, gltf, stl, off. Default: that of the scene's mesh/."""
    reference_views: Path | None = None
    """Posed pictures of the object, of which a mesh is made once and kept (docs/reference_views.md)."""
    test_scene_dir: Path = Path(AVOCADO)
    """Folder of the recording, or the name of a scene under test_data/ (if installed: in ~/.cache/pose6d/scenes)."""
    mask_file: Path | None = None
    """Mask of the object in the first frame, or a folder of masks named like the frames. Default: the scene's own."""
    object_id: str | None = None
    """Which object of a scene with several: a BOP number, which also says the mesh in models/, or the name of a folder
    in masks/."""
    est_refine_iter: int = 5
    """Refinement steps in the first frame."""
    track_refine_iter: int | None = None
    """Refinement steps in each further frame; where it is not given two, and none in frames in which the object goes on
    as it moved."""
    schedule: Literal["auto", "full", "thorough", "pruned"] = "auto"
    """How the first frame's hypotheses are refined: full is the published method, pruned goes on with the best; auto is
    pruned, or full with weights that have no confidence."""
    judge: bool = True
    """Judge every tracked pose, not only the first, and name the frames in which the object was likely lost; a frame
    that the networks follow then takes a third longer on a GPU, and 1.4 to 2 times as long on a CPU. Right poses of a
    real object may be judged low; those that fall far below the first frame's are named."""
    frames: str = ":"
    """Which frames: "30" is the first 30, "10:40" or "0:90:3" select as in Python."""
    mesh_unit: Literal["auto", "m", "cm", "mm"] = "auto"
    """Unit of the mesh file; auto compares its size with the depth under the mask and says what it decided."""
    keep_debris: bool = False
    """Keep small pieces of the mesh that lie far outside of the rest, which are else taken for debris."""
    depth_scale: float | None = None
    """Metres per depth unit. Default: what the scene's files say, else 0.001 (millimetres)."""
    depth_offset: str = "auto"
    """Depth that lies beside colour is moved back: auto does so if the first frame shows for certain that it lies more
    than 2 pixels off, none never does, and two numbers such as 3,-2 say by how many pixels it lies to the right of
    and below colour (python -m pose6d.scenes doctor measures it)."""
    cropped: bool = False
    """The pictures are cut out of larger ones: accept a principal point that looks like that of another resolution."""
    symmetry: str | None = None
    """Symmetries of the object, such as "continuous z" or "180 x; 180 y", or a JSON file. Default: the scene's own."""
    compare: bool = False
    """Compare with the scene's ground truth: draw it beside the prediction, write comparison.csv and two figures."""
    fps: float | None = None
    """Frames per second of the recording, for time axes. Default: "fps" in its scene.json, else 30."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    weights: str = "auto"
    """Network weights: name of a set in weights/, or a folder; auto takes the set that suits the device."""
    quantized: str | None = None
    """Run quantised networks: torch or onnx, one of their variants by name (see docs/quantization.md), or a folder of
    published ONNX files. Made once by: python -m quantization create."""
    debug: int = 1
    """0 writes poses and timings, 1 also video and report.html, 2 also pictures and clouds, 3 also the posed mesh."""
    debug_dir: Path | None = None
    """Folder of the results. Default: a new one, debug/<scene>/<number>."""
    overwrite: bool = False
    """Allow debug_dir to hold earlier results; files of the same names are replaced, nothing is deleted."""
