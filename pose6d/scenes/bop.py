"""Reader of one scene of a data set in BOP format (https://bop.felk.cvut.cz), which is in millimetres on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import FrameError, SceneError
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.symmetry import load_symmetry
from pose6d.scenes.frame import Frame, Scene
from pose6d.scenes.images import list_images, read_color, read_depth, read_mask, shorten
from pose6d.scenes.layout import first_size, read_json

_MODEL_FOLDERS = ("models", "models_cad", "models_eval", "models_reconst")


class BopScene(Scene):
    """One scene folder <data set>/<split>/<scene>, one object of it.

    scene_camera.json (cam_K and depth_scale per frame), rgb/ or gray/, depth/, and optionally scene_gt.json,
    mask_visib/<frame>_<instance>.png and ../../models/obj_<object>.ply with models_info.json (symmetries).
    Where the object is there more than once, its first instance is taken.
    """

    kind = "bop"

    def __init__(
        self,
        path: Path,
        *,
        object_id: str | None = None,
        mask_dir: Path | None = None,
        depth_scale: float | None = None,
    ) -> None:
        super().__init__(path)
        self._camera = _by_frame(path / "scene_camera.json")
        self._truth = _by_frame(path / "scene_gt.json") if (path / "scene_gt.json").is_file() else {}
        self._color = self._by_number(path / ("rgb" if (path / "rgb").is_dir() else "gray"))
        self._depth = self._by_number(path / "depth")
        self._frames = sorted(self._camera)
        self._check_pairs()
        self.names = [self._color[frame].stem for frame in self._frames]
        self.size = first_size([self._color[frame] for frame in self._frames])
        self._scale = depth_scale
        self._mask_files = list_images(mask_dir or path / "mask_visib")
        self._given_masks = mask_dir is not None

        self.objects = sorted({str(entry["obj_id"]) for gt in self._truth.values() for entry in gt}, key=int)
        self.object_id = self._choose(object_id)
        self.mesh_unit = "mm"
        if self.object_id is not None:
            self._find_model(int(self.object_id))

    @property
    def description(self) -> str:
        height, width = self.size
        if self.object_id is None:
            what = f"objects {', '.join(self.objects)}, none chosen" if self.objects else "no ground truth"
        else:
            seen = sum(self._instance(frame) is not None for frame in self._frames)
            what = f"object {self.object_id} in {seen} of them with ground truth"
        return f"BOP layout, {len(self)} frame(s) of {width}x{height}, {what}"

    def symmetries(self, unit_scale: float) -> np.ndarray | None:
        """See `Scene.symmetries`; None too for an object without symmetry. BOP fixes its unit, millimetres."""
        if self.symmetry_file is None:
            return None
        found = load_symmetry(self.symmetry_file, self.object_id).numpy()
        return found if len(found) > 1 else None

    def _read(self, index: int) -> Frame:
        frame, name = self._frames[index], self.names[index]
        camera = self._camera[frame]
        K = _matrix(camera, "cam_K", (3, 3), self.path / "scene_camera.json", frame)
        check_intrinsics(K, *self.size, source=f"{self.path / 'scene_camera.json'}, frame {frame}")
        scale = self._scale if self._scale is not None else 1e-3 * float(camera.get("depth_scale", 1.0))
        instance = self._instance(frame)
        mask_name = name if self._given_masks else f"{frame:06d}_{instance or 0:06d}"
        has_mask = mask_name in self._mask_files and (self._given_masks or instance is not None)
        return Frame(
            name=name,
            rgb=read_color(self._color[frame]),
            depth=read_depth(self._depth[frame], scale),
            K=K,
            mask=read_mask(self._mask_files[mask_name]) if has_mask else None,
            object_in_camera=None if instance is None else self._pose(frame, instance),
        )

    def _pose(self, frame: int, instance: int) -> np.ndarray:
        entry, source = self._truth[frame][instance], self.path / "scene_gt.json"
        pose = np.eye(4)
        pose[:3, :3] = _matrix(entry, "cam_R_m2c", (3, 3), source, frame)
        pose[:3, 3] = _matrix(entry, "cam_t_m2c", (1, 3), source, frame)[0] * 1e-3
        return pose

    def _instance(self, frame: int) -> int | None:
        """Index of the object in the frame's ground truth, None where it is not seen or none was chosen."""
        entries = self._truth.get(frame, [])
        return next((i for i, entry in enumerate(entries) if str(entry["obj_id"]) == self.object_id), None)

    def _choose(self, object_id: str | None) -> str | None:
        if object_id is None:
            return self.objects[0] if len(self.objects) == 1 else None
        if not object_id.isdigit():
            raise SceneError(f"object_id {object_id!r}: BOP objects have numbers, here {', '.join(self.objects)}")
        object_id = str(int(object_id))
        if self._truth and object_id not in self.objects:
            raise SceneError(f"object_id {object_id} is not in {self.path}: it has {', '.join(self.objects)}")
        return object_id

    def _find_model(self, number: int) -> None:
        root = self.path.resolve().parent.parent
        for folder in _MODEL_FOLDERS:
            file = root / folder / f"obj_{number:06d}.ply"
            if file.is_file():
                self.mesh_files = [file]
                info = file.parent / "models_info.json"
                self.symmetry_file = info if info.is_file() else None
                return

    def _by_number(self, folder: Path) -> dict[int, Path]:
        images = list_images(folder)
        if not images:
            found = "holds no images" if folder.is_dir() else "does not exist"
            raise SceneError(f"{folder} {found}: wanted <frame>.png of the frames in scene_camera.json")
        return {int(stem): file for stem, file in images.items() if stem.isdigit()}

    def _check_pairs(self) -> None:
        for what, images in (("colour", self._color), ("depth", self._depth)):
            lost = [f"{frame:06d}" for frame in self._frames if frame not in images]
            if lost:
                raise SceneError(
                    f"frames of {self.path} do not pair up: scene_camera.json lists {len(lost)} without {what} image "
                    f"({shorten(lost)}): was the data set unpacked completely?"
                )


def _by_frame(path: Path) -> dict[int, Any]:
    values = read_json(path)
    if not isinstance(values, dict) or not values or not all(key.isdigit() for key in values):
        raise SceneError(f"{path}: wanted an object with one entry per frame number")
    return {int(key): value for key, value in values.items()}


def _matrix(entry: dict[str, Any], key: str, shape: tuple[int, int], source: Path, frame: int) -> np.ndarray:
    values = np.asarray(entry.get(key, []), dtype=np.float64)
    if values.size != shape[0] * shape[1]:
        raise FrameError(f"{source}, frame {frame}: {key} has {values.size} numbers, wanted {shape[0] * shape[1]}")
    return values.reshape(shape)
