"""Data sets of the YCB objects in their authors' own layouts: YCB-Video, and the sequences of YCBInEOAT."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from pose6d.errors import FrameError, SceneError, shorten
from pose6d.evaluation.datasets import PoseDataset, Target, find_keyframes, named_models, read_keyframes
from pose6d.geometry.camera import check_intrinsics
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes.bop_folder import TrueInstance
from pose6d.scenes.folder import FolderScene
from pose6d.scenes.frame import Frame, check_truth
from pose6d.scenes.images import read_color, read_depth, read_label

_FRAMES_PER_SECOND = 30.0
_META = ("intrinsic_matrix", "poses", "cls_indexes", "factor_depth")  # what is read of a -meta.mat


class YcbVideoDataset(PoseDataset):
    """data/<video>/<frame>-{color,depth,label}.png and -meta.mat, keyframe.txt, models/<name>/textured_simple.obj.

    The images of keyframe.txt ("0048/000001"; also looked for in image_sets/) are asked for. Objects are numbered from
    1 in the order of their models' names. Xiang et al., PoseCNN, RSS 2018.
    """

    def __init__(self, path: Path, *, targets_file: Path | None = None) -> None:
        self.path, self.name = path, path.resolve().name
        self._models = named_models(path)
        pairs = read_keyframes(targets_file or find_keyframes(path) or path / "keyframe.txt")
        self._meta = lru_cache(maxsize=4)(self._read_meta)
        self.targets = [Target(*pair, obj_id) for pair in pairs for obj_id in sorted(self._ids(*pair))]

    def frame(self, scene_id: int, im_id: int) -> Frame:
        """See `PoseDataset.frame`."""
        meta, stem = self._meta(scene_id, im_id), self._stem(scene_id, im_id)
        rgb = read_color(Path(f"{stem}-color.png"))
        K = np.asarray(meta["intrinsic_matrix"], dtype=np.float64)
        height, width = rgb.shape[:2]
        check_intrinsics(K, height, width, source=f"{stem}-meta.mat")
        depth = read_depth(Path(f"{stem}-depth.png"), 1 / float(np.ravel(meta["factor_depth"])[0]))
        return Frame(name=stem.name, rgb=rgb, depth=depth, K=K)

    def truths(self, scene_id: int, im_id: int) -> list[TrueInstance]:
        """See `PoseDataset.truths`."""
        file, ids = self.truth_file(scene_id, im_id), self._ids(scene_id, im_id)
        try:
            poses = np.asarray(self._meta(scene_id, im_id)["poses"], dtype=np.float64).reshape(3, 4, len(ids))
        except (TypeError, ValueError) as error:
            raise FrameError(f"{file}: poses of {len(ids)} objects are wanted, 3x4 each: {error}") from error
        return [
            TrueInstance(
                obj_id,
                check_truth(np.vstack([poses[:, :, index], [0, 0, 0, 1]]), f"{file}, pose {index} (object {obj_id})"),
                index,
            )
            for index, obj_id in enumerate(ids)
        ]

    def truth_file(self, scene_id: int, im_id: int) -> Path:
        """See `PoseDataset.truth_file`."""
        return Path(f"{self._stem(scene_id, im_id)}-meta.mat")

    def mask(self, scene_id: int, im_id: int, truth: TrueInstance) -> np.ndarray | None:
        """See `PoseDataset.mask`."""
        return read_label(Path(f"{self._stem(scene_id, im_id)}-label.png")) == truth.object_id

    def mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.mesh`."""
        if obj_id not in self._models:
            raise SceneError(f"{self.path}/models has {len(self._models)} models, the images show object {obj_id}")
        return load_mesh(self._models[obj_id], keep_debris=True)  # errors are defined on the whole model

    def _stem(self, scene_id: int, im_id: int) -> Path:
        return self.path / "data" / f"{scene_id:04d}" / f"{im_id:06d}"

    def _ids(self, scene_id: int, im_id: int) -> list[int]:
        numbers = np.ravel(self._meta(scene_id, im_id)["cls_indexes"])
        try:
            return [int(number) for number in numbers]
        except (TypeError, ValueError, OverflowError) as error:
            raise FrameError(
                f"{self.truth_file(scene_id, im_id)}: cls_indexes are no object numbers: {error}"
            ) from error

    def _read_meta(self, scene_id: int, im_id: int) -> dict[str, Any]:
        file = self.truth_file(scene_id, im_id)
        try:
            meta = loadmat(file, variable_names=_META)  # the rest is large
        except (OSError, ValueError, NotImplementedError, TypeError) as error:
            raise FrameError(f"{file} cannot be read as a MATLAB file: {error}") from error
        missing = set(_META) - meta.keys()
        if missing:
            raise FrameError(f"{file} lacks {', '.join(sorted(missing))}")
        return meta


# The first word of a sequence's name -> number of the YCB object.
_EOAT_OBJECTS = {"cracker": 3, "sugar": 4, "tomato": 5, "mustard": 6, "bleach": 21}


class EoatDataset(PoseDataset):
    """YCBInEOAT: <sequence>/{rgb, depth, masks, annotated_poses, cam_K.txt} and models/<NNN_name>/textured_simple.obj.

    Scenes are the sequences in the order of their names, from 1; images are their frames, from 0; objects have their
    YCB number (21 is 021_bleach_cleanser). Wen et al., se(3)-TrackNet, IROS 2020.
    """

    frame_seconds = 1 / _FRAMES_PER_SECOND

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.resolve().name
        files = named_models(path).values()
        self._models = {int(f.parent.name[:3]): f for f in files if re.match(r"\d{3}_", f.parent.name)}
        folders = sorted(entry.parent for entry in path.glob("*/cam_K.txt"))
        if not folders:
            raise SceneError(f"{path} has no sequence: wanted <sequence>/cam_K.txt with rgb/, depth/ and masks/")
        self.sequences = {number: FolderScene(folder) for number, folder in enumerate(folders, start=1)}
        self._objects = {number: self._object_of(scene.path.name) for number, scene in self.sequences.items()}
        self.targets = [
            Target(number, index, self._objects[number])
            for number, scene in self.sequences.items()
            for index in range(len(scene))
        ]

    def frame(self, scene_id: int, im_id: int) -> Frame:
        """See `PoseDataset.frame`."""
        frame = self.sequences[scene_id][im_id]
        frame.mask = None
        return frame

    def truths(self, scene_id: int, im_id: int) -> list[TrueInstance]:
        """See `PoseDataset.truths`."""
        pose = self.sequences[scene_id].pose(im_id)
        return [] if pose is None else [TrueInstance(self._objects[scene_id], pose, 0)]

    def truth_file(self, scene_id: int, im_id: int) -> Path:
        """See `PoseDataset.truth_file`."""
        return self.sequences[scene_id].path / "annotated_poses"

    def mask(self, scene_id: int, im_id: int, truth: TrueInstance) -> np.ndarray | None:
        """See `PoseDataset.mask`."""
        return self.sequences[scene_id].mask(im_id)

    def mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.mesh`."""
        if obj_id not in self._models:
            raise SceneError(
                f"{self.path}/models has no {obj_id:03d}_*: it has {shorten(sorted(map(str, self._models)))}"
            )
        return load_mesh(self._models[obj_id], keep_debris=True)  # errors are defined on the whole model

    def _object_of(self, sequence: str) -> int:
        for word, number in _EOAT_OBJECTS.items():
            if sequence.startswith(word):
                return number
        raise SceneError(f"sequence {sequence}: its object is unknown; names begin with {', '.join(_EOAT_OBJECTS)}")
