"""Reader of the plain layout: rgb/, depth/, cam_K.txt, masks/ and optionally mesh/ and annotated_poses/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pose6d.errors import FrameError, SceneError
from pose6d.scenes.camera_file import find_camera_file
from pose6d.scenes.frame import SceneOptions, check_truth
from pose6d.scenes.layout import SingleCameraScene

_KNOWN = frozenset(("rgb", "depth", "masks", "mesh", "annotated_poses", "scene.json"))


class FolderScene(SingleCameraScene):
    """A folder of images, frames paired by name.

    rgb/<frame>.png|jpg, depth/<frame>.png (16 bits, millimetres unless `depth_scale` is given; or .tif, .npy),
    cam_K.txt (3x3, or what else `read_camera` knows; or intrinsics.json),
    masks/<frame>.png or masks/<object>/<frame>.png (only the first frame needs one), mesh/*.obj|ply|glb,
    mesh/symmetry.json, annotated_poses/<frame>.txt (4x4 object_in_camera in metres; ground truth; if none is named
    like a frame but there are as many, they go together in order).
    """

    kind = "folder"
    files = "rgb/, depth/, cam_K.txt, masks/"
    markers = ("rgb", "cam_K.txt")

    def __init__(self, path: Path, options: SceneOptions = SceneOptions()) -> None:  # noqa: B008 - frozen
        camera = find_camera_file(path)
        super().__init__(path, "rgb", camera, options)
        poses = path / "annotated_poses"
        self._poses = {f.stem: f for f in sorted(poses.glob("*.txt"))} if poses.is_dir() else {}
        # YCBInEOAT numbers its poses from 0 and names its images by time stamps.
        if len(self._poses) == len(self.names) and not self._poses.keys() & set(self.names):
            self._poses = dict(zip(self.names, self._poses.values(), strict=True))
        self._name_unused(_KNOWN | {camera.name})
        self._name_unmatched(self._poses, "ground truth")
        self._name_unused_masks()

    @property
    def truth(self) -> str:
        return f"ground truth for {len(self._poses)} frame(s)" if self._poses else "no ground truth"

    def pose(self, index: int) -> np.ndarray | None:
        """See `Scene.pose`."""
        return read_pose(self._poses, self.names[index], "object_in_camera, 4x4 in metres")


def read_pose(files: Mapping[str, Path], frame: str, what: str) -> np.ndarray | None:
    """The pose (4, 4) in the text file of a frame, None where it has none; FrameError where that is no pose."""
    if frame not in files:
        return None
    try:
        pose = read_matrix(files[frame], (4, 4), what)
    except SceneError as error:
        raise FrameError(f"frame {frame}: {error}") from error
    return check_truth(pose, f"frame {frame}: {files[frame]}")


def read_matrix(path: Path, shape: tuple[int, int], what: str) -> np.ndarray:
    """Read a text file of numbers, with any brackets, commas and semicolons, as a float64 matrix of `shape`."""
    if not path.is_file():
        raise SceneError(f"{path} is missing: wanted {what}, {shape[0]} lines of {shape[1]} numbers")
    try:
        text = re.sub(r"[,;\[\]()]", " ", path.read_text(encoding="utf-8-sig"))
        values = np.array([float(word) for word in text.split()])
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} is no text file of numbers: {error}") from error
    if values.size != shape[0] * shape[1]:
        raise SceneError(f"{path} has {values.size} numbers, wanted {shape[0] * shape[1]}: {what}")
    return values.reshape(shape)
