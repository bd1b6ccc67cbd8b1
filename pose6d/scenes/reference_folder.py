"""Reader of the published layout of reference views: rgb/, depth_enhanced/, mask/, cam_in_ob/, K.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.scenes.folder import read_pose
from pose6d.scenes.frame import SceneOptions
from pose6d.scenes.layout import SingleCameraScene

_DEPTH = ("depth_enhanced", "depth")
_MASKS = ("mask_refined", "mask", "masks")
_CAMERAS = ("K.txt", "cam_K.txt")
_KNOWN = frozenset(("rgb", "cam_in_ob", "select_frames.yml", "mesh", "scene.json"))


class ReferenceFolderScene(SingleCameraScene):
    """Posed pictures of one object, as the published method's model-free data has them.

    rgb/<view>.png|jpg, depth_enhanced/<view>.png (or depth/; 16 bits, millimetres unless `depth_scale` is given),
    mask_refined/<view>.png, else mask/ or masks/, cam_in_ob/<view>.txt (4x4, the camera in the object's frame, metres,
    OpenCV axes, so that its inverse is the ground truth) and K.txt. select_frames.yml is not read.
    """

    kind = "ref_views"
    files = "rgb/, depth_enhanced/, mask/, cam_in_ob/, K.txt"
    markers = ("cam_in_ob",)

    def __init__(self, path: Path, options: SceneOptions = SceneOptions()) -> None:  # noqa: B008 - frozen
        depth, masks, camera = _first(path, _DEPTH), _first(path, _MASKS), _first(path, _CAMERAS)
        super().__init__(path, "rgb", path / camera, options, depth_dir=depth, mask_dir=masks)
        folder = path / "cam_in_ob"
        self._poses = {file.stem: file for file in sorted(folder.glob("*.txt"))}
        self._name_unused(_KNOWN | {depth, masks, camera})
        self._name_unmatched(self._poses, "poses")
        self._name_unused_masks()

    @property
    def truth(self) -> str:
        return f"poses of {len(self._poses)} view(s)"

    def pose(self, index: int) -> np.ndarray | None:
        """See `Scene.pose`."""
        camera_in_object = read_pose(self._poses, self.names[index], "camera in object, 4x4 in metres")
        return None if camera_in_object is None else np.linalg.inv(camera_in_object)


def _first(folder: Path, names: tuple[str, ...]) -> str:
    """The first of the names that is there; where none is, the first, which a message then asks for."""
    return next((name for name in names if (folder / name).exists()), names[0])
