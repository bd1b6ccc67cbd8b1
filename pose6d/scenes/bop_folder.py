"""One scene folder of a data set in BOP format (https://bop.felk.cvut.cz), all objects of it; millimetres on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import FrameError, SceneError, shorten
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.transforms import rigid_transform
from pose6d.json_file import read_json
from pose6d.scenes.frame import Frame, check_truth
from pose6d.scenes.images import list_images, read_color, read_depth, read_mask


@dataclass(frozen=True, eq=False)
class TrueInstance:
    """One annotated object in one image.

    Attributes:
        object_id: which object.
        object_in_camera: (4, 4) float64, metres.
        index: its place among the image's annotations; its mask is named by it.
        visible_fraction: share of its silhouette that is not occluded; 1 where the data set does not say.
    """

    object_id: int
    object_in_camera: np.ndarray
    index: int
    visible_fraction: float = 1.0


class BopFolder:
    """scene_camera.json (cam_K and depth_scale per frame), rgb/ or gray/, depth/, and optionally scene_gt.json,
    scene_gt_info.json and mask_visib/<frame>_<instance>.png. Frames are known by their numbers.

    Raises:
        SceneError: a folder is missing, or a JSON file is not of this form.
    """

    def __init__(self, path: Path, *, depth_scale: float | None = None, cropped: bool = False) -> None:
        self.path = path
        self._camera = _by_frame(path / "scene_camera.json")
        self._truth = _annotations(path / "scene_gt.json")
        self._info = _annotations(path / "scene_gt_info.json")
        self.color = self._by_number(path / ("rgb" if (path / "rgb").is_dir() else "gray"))
        self._depth = self._by_number(path / "depth")
        self._scale, self._cropped = depth_scale, cropped
        self._masks = list_images(path / "mask_visib")
        self.frames = sorted(self._camera)

    @property
    def has_truth(self) -> bool:
        """Whether there is a scene_gt.json."""
        return bool(self._truth)

    def objects(self) -> list[int]:
        """The objects that the ground truth names."""
        return sorted({number for frame in self._truth for number in self.object_ids(frame)})

    def object_ids(self, frame: int) -> list[int]:
        """The object of each annotation of a frame, [] where there are none."""
        return [
            int(_number(entry, "obj_id", self._annotation("scene_gt.json", frame, index)))
            for index, entry in enumerate(self._truth.get(frame, []))
        ]

    def check_pairs(self) -> None:
        """Raise SceneError unless every frame of scene_camera.json has a colour and a depth image."""
        for what, images in (("colour", self.color), ("depth", self._depth)):
            lost = [f"{frame:06d}" for frame in self.frames if frame not in images]
            if lost:
                raise SceneError(
                    f"frames of {self.path} do not pair up: scene_camera.json lists {len(lost)} without {what} image "
                    f"({shorten(lost)}): was the data set unpacked completely?"
                )

    def read(self, frame: int) -> Frame:
        """The images and intrinsics of a frame, without mask and pose.

        Raises:
            FrameError: a file of it is missing or damaged, or scene_camera.json does not know it.
        """
        source = self.path / "scene_camera.json"
        if frame not in self._camera:
            raise FrameError(f"{source} has no frame {frame}: it has {len(self.frames)}, from {self.frames[0]} on")
        for what, images in (("colour", self.color), ("depth", self._depth)):
            if frame not in images:
                raise FrameError(f"{self.path} has no {what} image of frame {frame:06d}: was all of it unpacked?")
        camera = self._camera[frame]
        K = _matrix(camera, "cam_K", (3, 3), f"{source}, frame {frame}")
        scale = self._scale
        if scale is None:
            stated = _number({"depth_scale": 1.0, **camera}, "depth_scale", f"{source}, frame {frame}")
            scale = 1e-3 * stated
        rgb = read_color(self.color[frame])
        height, width = rgb.shape[:2]
        check_intrinsics(K, height, width, source=f"{source}, frame {frame}", cropped=self._cropped)
        return Frame(name=self.color[frame].stem, rgb=rgb, depth=read_depth(self._depth[frame], scale), K=K)

    def instances(self, frame: int) -> list[TrueInstance]:
        """The annotated objects of a frame, [] where there are none; FrameError where one cannot be."""
        return [
            TrueInstance(object_id, self.pose(frame, index), index, self._visible_fraction(frame, index))
            for index, object_id in enumerate(self.object_ids(frame))
        ]

    def pose(self, frame: int, index: int) -> np.ndarray:
        """(4, 4) float64 object in camera, metres, of one annotation; FrameError where it is no pose."""
        entry, source = self._truth[frame][index], self._annotation("scene_gt.json", frame, index)
        R, t = (_matrix(entry, key, shape, source) for key, shape in (("cam_R_m2c", (3, 3)), ("cam_t_m2c", (1, 3))))
        return check_truth(rigid_transform(R, t[0] * 1e-3), source)

    def _visible_fraction(self, frame: int, index: int) -> float:
        info = self._info.get(frame, [])
        if index >= len(info) or "visib_fract" not in info[index]:
            return 1.0
        return _number(info[index], "visib_fract", self._annotation("scene_gt_info.json", frame, index))

    def _annotation(self, file: str, frame: int, index: int) -> str:
        return f"{self.path / file}, frame {frame}, instance {index}"

    def has_visible_mask(self, frame: int, index: int) -> bool:
        """Whether the scene has a mask of the visible part of one annotated object."""
        return f"{frame:06d}_{index:06d}" in self._masks

    def visible_mask(self, frame: int, index: int) -> np.ndarray | None:
        """(H, W) bool, the visible part of one annotated object; None where the scene has no such mask."""
        file = self._masks.get(f"{frame:06d}_{index:06d}")
        return None if file is None else read_mask(file)

    def _by_number(self, folder: Path) -> dict[int, Path]:
        images = list_images(folder)
        if not images:
            found = "holds no images" if folder.is_dir() else "does not exist"
            raise SceneError(f"{folder} {found}: wanted <frame>.png of the frames in scene_camera.json")
        return {int(stem): file for stem, file in images.items() if stem.isdigit()}


def _by_frame(path: Path, kind: type = dict) -> dict[int, Any]:
    """The entries of a JSON file by frame number, each of this kind."""
    values = read_json(path)
    if not isinstance(values, dict) or not values or not all(key.isdigit() for key in values):
        raise SceneError(f"{path}: wanted an object with one entry per frame number")
    for key, value in values.items():
        if not isinstance(value, kind):
            wanted = "a list of annotations" if kind is list else "an object"
            raise SceneError(f"{path}, frame {key}: found {type(value).__name__}, wanted {wanted}")
    return {int(key): value for key, value in values.items()}


def _annotations(path: Path) -> dict[int, list[dict[str, Any]]]:
    """The annotations of each frame, {} where there is no such file."""
    if not path.is_file():
        return {}
    frames = _by_frame(path, list)
    for frame, entries in frames.items():
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                found = type(entry).__name__
                raise SceneError(f"{path}, frame {frame}, instance {index}: found {found}, wanted an object")
    return frames


def _matrix(entry: dict[str, Any], key: str, shape: tuple[int, int], source: str) -> np.ndarray:
    size = shape[0] * shape[1]
    try:
        values = np.asarray(entry.get(key, []), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"{source}: {key} is {str(entry[key])[:60]}, wanted {size} numbers") from error
    if values.size != size:
        raise FrameError(f"{source}: {key} has {values.size} numbers, wanted {size}")
    return values.reshape(shape)


def _number(entry: dict[str, Any], key: str, source: str) -> float:
    try:
        value = float(entry[key])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found = f"is {str(entry[key])[:60]!r}" if key in entry else "is missing"
        raise FrameError(f"{source}: {key} {found}, wanted a number") from error
    if not math.isfinite(value):
        raise FrameError(f"{source}: {key} is {value}, wanted a finite number")
    return value
