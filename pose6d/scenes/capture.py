"""Reader of the capture layout: JPEGImages/, depth/, intrinsics.json, transforms.npy of a moving camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.errors import SceneError
from pose6d.geometry.pose_check import ANNOTATED, check_rigid
from pose6d.scenes.frame import SceneOptions
from pose6d.scenes.layout import SingleCameraScene
from pose6d.scenes.timestamps import GROWING

_KNOWN = frozenset(
    {"JPEGImages", "depth", "intrinsics.json", "masks", "mesh", "transforms.npy", "scene.json", "downloaded.json"}
    # what the steps of mesh_creation keep there for one another
    | {"board.json", "recording.json", "registration", "registration.json", "registration.png", "fusion"}
    | {"transforms.before.npy", "trajectory.json", "objects.json", "labels", "truth"}
    | {GROWING}
)


class CaptureScene(SingleCameraScene):
    """A recording of a RealSense-like camera around an object.

    JPEGImages/<n>.jpg, depth/<n>.png (16 bits), intrinsics.json (fx, fy, ppx, ppy, optionally width, height, model and
    coeffs of the lens, and depth_scale in metres per unit), and optionally masks/<n>.png, mesh/*.obj|ply|glb,
    mesh/symmetry.json and transforms.npy (N, 4, 4), camera i in the frame of the object's mesh, so that its inverse is
    the ground truth. While it is being recorded, frames.txt lists its frames.
    """

    kind = "capture"
    files = "JPEGImages/, depth/, intrinsics.json"
    markers = ("JPEGImages",)

    def __init__(self, path: Path, options: SceneOptions = SceneOptions()) -> None:  # noqa: B008 - frozen
        growing = (path / GROWING).is_file()
        super().__init__(path, "JPEGImages", path / "intrinsics.json", options, growing=growing)
        self._camera_in_object = _read_transforms(path / "transforms.npy", len(self.names))
        self._name_unused(_KNOWN)
        self._name_unused_masks()

    @property
    def truth(self) -> str:
        return "no ground truth" if self._camera_in_object is None else "ground truth from transforms.npy"

    def pose(self, index: int) -> np.ndarray | None:
        """See `Scene.pose`."""
        if self._camera_in_object is None or not np.isfinite(self._camera_in_object[index]).all():
            return None
        return np.linalg.inv(self._camera_in_object[index])


def _read_transforms(path: Path, frames: int) -> np.ndarray | None:
    """Camera in object (N, 4, 4), None if the recording has none; NaN where a frame was not registered."""
    if not path.is_file():
        return None
    try:
        transforms = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, TypeError, EOFError) as error:
        # numpy's own message would suggest to load the file unsafely.
        raise SceneError(
            f"{path} cannot be read as a numpy array ({type(error).__name__}): copy or save it again as (N, 4, 4) "
            "floats. Without this file the scene is read without ground truth"
        ) from error
    if transforms.shape != (frames, 4, 4):
        raise SceneError(
            f"{path} has shape {transforms.shape}, wanted ({frames}, 4, 4), one camera pose per frame in natural order "
            "of the names: was a frame deleted? Without this file the scene is read without ground truth"
        )
    for index, camera_in_object in enumerate(transforms):
        # A frame that the recorder could not register is all NaN.
        if np.isnan(camera_in_object).all():
            continue
        try:
            check_rigid(camera_in_object, ANNOTATED)
        except ValueError as error:
            raise SceneError(
                f"{path} holds no rigid transforms: that of frame {index}: {error}. Wanted 4x4 camera poses, all NaN "
                "where a frame has none. Without this file the scene is read without ground truth"
            ) from error
    return transforms
