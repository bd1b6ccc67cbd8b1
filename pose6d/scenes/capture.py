"""Reader of the capture layout: JPEGImages/, depth/, intrinsics.json, transforms.npy of a moving camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.errors import SceneError
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.pose_check import ANNOTATED, check_rigid
from pose6d.scenes.frame import Frame, Scene
from pose6d.scenes.images import read_color, read_depth
from pose6d.scenes.layout import Masks, find_meshes, first_size, pair_frames, read_json

_KNOWN = frozenset(
    {"JPEGImages", "depth", "intrinsics.json", "masks", "mesh", "transforms.npy", "scene.json", "downloaded.json"}
    # what the steps of mesh_creation keep there for one another
    | {"board.json", "recording.json", "registration", "registration.json", "registration.png", "fusion"}
    | {"transforms.before.npy", "objects.json", "labels", "truth"}
)


class CaptureScene(Scene):
    """A recording of a RealSense-like camera around an object.

    JPEGImages/<n>.jpg, depth/<n>.png (16 bits), intrinsics.json (fx, fy, ppx, ppy, optionally width, height and
    depth_scale in metres per unit), and optionally masks/<n>.png, mesh/*.obj|ply|glb, mesh/symmetry.json and
    transforms.npy (N, 4, 4), camera i in the frame of the object's mesh, so that its inverse is the ground truth.
    """

    kind = "capture"

    def __init__(
        self,
        path: Path,
        *,
        object_id: str | None = None,
        mask_dir: Path | None = None,
        depth_scale: float | None = None,
    ) -> None:
        super().__init__(path)
        self.names, self._color, self._depth = pair_frames(path / "JPEGImages", path / "depth")
        self.size = first_size(list(self._color.values()))
        self._K, scale = _read_intrinsics(path / "intrinsics.json", self.size)
        self._scale = scale if depth_scale is None else depth_scale
        self._masks = Masks(mask_dir or path / "masks", object_id)
        self.objects, self.object_id = self._masks.objects, self._masks.object_id
        self.mesh_files = find_meshes(path / "mesh")
        self._camera_in_object = _read_transforms(path / "transforms.npy", len(self.names))
        self._name_unused(_KNOWN)
        self._name_unused_masks(self._masks)

    @property
    def description(self) -> str:
        height, width = self.size
        truth = "no ground truth" if self._camera_in_object is None else "ground truth from transforms.npy"
        return f"capture layout, {len(self)} frame(s) of {width}x{height}, {self._masks.description}, {truth}"

    def _read(self, index: int) -> Frame:
        name = self.names[index]
        truth = None
        if self._camera_in_object is not None and np.isfinite(self._camera_in_object[index]).all():
            truth = np.linalg.inv(self._camera_in_object[index])
        return Frame(
            name=name,
            rgb=read_color(self._color[name]),
            depth=read_depth(self._depth[name], self._scale),
            K=self._K.copy(),
            mask=self._masks.read(name),
            object_in_camera=truth,
        )


def _read_intrinsics(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """K (3, 3) and metres per depth unit."""
    if not path.is_file():
        raise SceneError(f"{path} is missing: wanted fx, fy, ppx, ppy and, where it is not 0.001, depth_scale")
    values = read_json(path)
    missing = [key for key in ("fx", "fy", "ppx", "ppy") if not isinstance(values, dict) or key not in values]
    if missing:
        raise SceneError(f"{path} lacks {', '.join(missing)}: wanted fx, fy, ppx, ppy in pixels")
    try:
        fx, fy, cx, cy = (float(values[key]) for key in ("fx", "fy", "ppx", "ppy"))
        scale = float(values.get("depth_scale", 0.001))
        stated = (int(values.get("height", size[0])), int(values.get("width", size[1])))
    except (TypeError, ValueError) as error:
        raise SceneError(f"{path}: a value is no number: {error}") from error
    if stated != size:
        raise SceneError(
            f"{path} is for images of {stated[1]}x{stated[0]}, but {path.parent} holds {size[1]}x{size[0]}: "
            "take the intrinsics of the colour stream at the recorded resolution"
        )
    if not 0 < scale < 1e3:
        raise SceneError(f"{path}: depth_scale is {scale}, wanted metres per depth unit, such as 0.001")
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)
    check_intrinsics(K, *size, source=str(path))
    return K, scale


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
