"""What the prediction and the scoring loop ask of a data set, whatever its layout on disk."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from pose6d.errors import SceneError
from pose6d.geometry.pose_check import PoseUnit
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.bop_folder import TrueInstance
from pose6d.scenes.frame import Frame


class Target(NamedTuple):
    """Find `inst_count` instances of one object in one image."""

    scene_id: int
    im_id: int
    obj_id: int
    inst_count: int = 1


class ImageTargets(NamedTuple):
    """All targets of one image."""

    scene_id: int
    im_id: int
    targets: tuple[Target, ...]


class PoseDataset(ABC):
    """Images with objects whose poses are asked for.

    Attributes:
        name: for people and for scores.json.
        path: the folder.
        split: which part of it, "" where it has none.
        targets: what is asked for, by scene, image and object.
        frame_seconds: between two frames where the scenes are videos without gaps, else None.
        unit: of the lengths in its files.
        settings: what its images follow from besides its name and split.
    """

    name: str
    path: Path
    split: str = ""
    targets: list[Target]
    frame_seconds: float | None = None
    unit: PoseUnit = "m"
    settings: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def frame(self, scene_id: int, im_id: int) -> Frame:
        """The images of one view, metres, without a mask; FrameError if they cannot be read."""

    @abstractmethod
    def truths(self, scene_id: int, im_id: int) -> list[TrueInstance]:
        """The annotated objects of one image; SceneError where the data set keeps them private, or one is no pose."""

    @abstractmethod
    def truth_file(self, scene_id: int, im_id: int) -> Path:
        """Where the annotations of one image are, for messages."""

    @abstractmethod
    def mask(self, scene_id: int, im_id: int, truth: TrueInstance) -> np.ndarray | None:
        """(H, W) bool, where one annotated object is visible; None where the data set does not say."""

    @abstractmethod
    def mesh(self, obj_id: int) -> Mesh:
        """The object to find, with its look, metres."""

    def evaluation_mesh(self, obj_id: int) -> Mesh:
        """The mesh that errors are measured on, metres."""
        return self.mesh(obj_id)

    def diameter(self, obj_id: int) -> float:
        """Metres, as the data set states it."""
        return self.evaluation_mesh(obj_id).diameter

    def symmetries(self, obj_id: int, step_degrees: float = 5.0) -> np.ndarray | None:
        """(S, 4, 4), metres; None for an object without symmetry."""
        return None

    def is_symmetric(self, obj_id: int) -> bool:
        """Whether ADD-S is the measure to quote for an object."""
        return self.symmetries(obj_id) is not None

    @property
    def object_ids(self) -> list[int]:
        """The objects asked for."""
        return sorted({target.obj_id for target in self.targets})

    def images(self) -> list[ImageTargets]:
        """The targets image by image, in order."""
        return [
            ImageTargets(*image, tuple(targets))
            for image, targets in groupby(sorted(self.targets), key=lambda target: (target.scene_id, target.im_id))
        ]

    def best_visible(self, target: Target) -> list[TrueInstance]:
        """The `inst_count` most visible instances of a target: those that count (BOP Challenge 2019)."""
        truths = [t for t in self.truths(target.scene_id, target.im_id) if t.object_id == target.obj_id]
        return sorted(truths, key=lambda truth: -truth.visible_fraction)[: target.inst_count]


def scenes_of(images: list[ImageTargets]) -> Iterator[list[ImageTargets]]:
    """Images scene by scene."""
    for _, group in groupby(images, key=lambda image: image.scene_id):
        yield list(group)


def find_folder(root: Path, *names: str) -> Path | None:
    """The first of the folders that is in `root`, or one level below as when each archive was unpacked by itself."""
    for name in names:
        for candidate in (root / name, *sorted(root.glob(f"*/{name}"))):
            if candidate.is_dir():
                return candidate
    return None


def find_keyframes(root: Path) -> Path | None:
    """The keyframe.txt of a data set, None where it has none."""
    return next((f for f in (root / "keyframe.txt", root / "image_sets" / "keyframe.txt") if f.is_file()), None)


def read_keyframes(path: Path) -> list[tuple[int, int]]:
    """(scene, image) of each line "0048/000001", in order; SceneError if the file is missing or of another form."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path} cannot be read: {error}; it lists the images to evaluate on") from error
    wrong = [line for line in lines if not re.fullmatch(r"\d+/\d+", line)]
    if wrong or not lines:
        raise SceneError(f"{path}: {wrong[0] if wrong else 'empty'!r}: wanted lines such as 0048/000001")
    return sorted({(int(line.split("/")[0]), int(line.split("/")[1])) for line in lines})


def named_models(root: Path) -> dict[int, Path]:
    """The YCB models of a folder by number: models/002_master_chef_can/textured_simple.obj is object 1 of YCB-Video,
    the first by name.

    Raises:
        SceneError: there are none.
    """
    files: dict[int, Path] = {}
    folder = find_folder(root, "models", "YCB_Video_Models")
    for entry in sorted(folder.iterdir()) if folder else []:
        meshes = [entry / name for name in ("textured_simple.obj", "textured.obj") if (entry / name).is_file()]
        if meshes:
            files[len(files) + 1] = meshes[0]
    if not files:
        raise SceneError(f"{root} has no models: wanted models/<name>/textured_simple.obj (or textured.obj)")
    return files
