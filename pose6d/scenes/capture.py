"""Reader of the capture layout: JPEGImages/, depth/, intrinsics.json, transforms.npy of a moving camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.errors import SceneError
from pose6d.scenes.camera_file import read_camera
from pose6d.scenes.frame import Frame, Scene
from pose6d.scenes.images import read_color, read_depth
from pose6d.scenes.layout import Masks, find_meshes, find_symmetry, first_size, pair_frames, turning_notes


class CaptureScene(Scene):
    """A recording of a RealSense-like camera around an object.

    JPEGImages/<n>.jpg, depth/<n>.png (16 bits), intrinsics.json (fx, fy, ppx, ppy, optionally width, height, model and
    coeffs of the lens, and depth_scale in metres per unit), and optionally masks/<n>.png, mesh/*.obj|ply|glb,
    mesh/symmetry.json and transforms.npy (N, 4, 4), camera i in the frame of the object's mesh, so that its inverse is
    the ground truth.
    """

    kind = "capture"

    def __init__(
        self,
        path: Path,
        *,
        object_id: str | None = None,
        mask_dir: Path | None = None,
        depth_scale: float | None = None,
        cropped: bool = False,
    ) -> None:
        super().__init__(path)
        self.names, self._color, self._depth = pair_frames(path / "JPEGImages", path / "depth")
        self.size = first_size(list(self._color.values()))
        self.notes += turning_notes(list(self._color.values()))
        self._K, self._scale = self._use_camera(read_camera(path / "intrinsics.json"), depth_scale, cropped)
        self._masks = Masks(mask_dir or path / "masks", object_id, self._color)
        self.objects, self.object_id = self._masks.objects, self._masks.object_id
        self.mesh_files = find_meshes(path / "mesh")
        self.symmetry_file = find_symmetry(path / "mesh")
        self._camera_in_object = _read_transforms(path / "transforms.npy", len(self.names))

    @property
    def description(self) -> str:
        height, width = self.size
        truth = "no ground truth" if self._camera_in_object is None else "ground truth from transforms.npy"
        return f"capture layout, {len(self)} frame(s) of {width}x{height}, {self._masks.description}, {truth}"

    def _read(self, index: int) -> Frame:
        name = self.names[index]
        truth = None
        # A frame that the recorder could not register is stored as NaN: it has no ground truth.
        if self._camera_in_object is not None and np.isfinite(self._camera_in_object[index]).all():
            truth = np.linalg.inv(self._camera_in_object[index])
        mask = self._masks.read(name)
        return Frame(
            name=name,
            rgb=self._pinhole(read_color(self._color[name])),
            depth=self._pinhole(read_depth(self._depth[name], self._scale)),
            K=self._K.copy(),
            mask=None if mask is None else self._pinhole(mask),
            object_in_camera=truth,
        )


def _read_transforms(path: Path, frames: int) -> np.ndarray | None:
    """Camera in object (N, 4, 4), None if the recording has none; NaN where a frame was not registered."""
    if not path.is_file():
        return None
    try:
        transforms = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
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
    transforms = transforms.astype(np.float64)
    known = transforms[np.isfinite(transforms).all(axis=(1, 2))]
    R = known[:, :3, :3]
    off = np.abs(np.swapaxes(R, 1, 2) @ R - np.eye(3)).max() if len(known) else 0.0
    if off > 1e-2 or not np.allclose(known[:, 3], [0, 0, 0, 1], atol=1e-6):
        raise SceneError(f"{path} holds no rigid transforms (R^T R is off by {off:.2g}): wanted 4x4 camera poses")
    return transforms
