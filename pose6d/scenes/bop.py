"""One scene of a data set in BOP format as a recording of one of its objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.errors import SceneError
from pose6d.scenes.bop_folder import BopFolder
from pose6d.scenes.frame import Frame, Scene, SceneOptions
from pose6d.scenes.images import list_images, read_mask
from pose6d.scenes.layout import first_size

_KNOWN = frozenset(
    {"scene_camera.json", "scene_gt.json", "scene_gt_info.json", "scene_gt_coco.json"}
    | {"rgb", "gray", "depth", "mask", "mask_visib"}
)
_MODEL_FOLDERS = ("models", "models_cad", "models_eval", "models_reconst")


class BopScene(Scene):
    """One scene folder <data set>/<split>/<scene> (see `BopFolder`), one object of it.

    The mesh and its symmetries are looked for in ../../models/obj_<object>.ply with models_info.json.
    Where the object is there more than once, its first instance is taken.
    """

    kind = "bop"
    files = "scene_camera.json, rgb/ or gray/, depth/, mask_visib/"
    markers = ("scene_camera.json",)

    def __init__(self, path: Path, options: SceneOptions = SceneOptions()) -> None:  # noqa: B008 - frozen
        super().__init__(path, options)
        self._folder = BopFolder(path, depth_scale=options.depth_scale, cropped=options.cropped)
        self._folder.check_pairs()
        self._frames = self._folder.frames
        color = [self._folder.color[frame] for frame in self._frames]
        self.names = [file.stem for file in color]
        self.size = first_size(color)
        self._given_masks = None if options.mask_dir is None else list_images(options.mask_dir)

        self.objects = [str(number) for number in self._folder.objects()]
        self.object_id = self._choose(options.object_id)
        self.mesh_unit = "mm"
        if self.object_id is not None:
            self._find_model(int(self.object_id))
        self._name_unused(_KNOWN)
        self._name_unmatched(self._given_masks or {}, "masks")

    @property
    def description(self) -> str:
        height, width = self.size
        if self.object_id is None:
            what = f"objects {', '.join(self.objects)}, none chosen" if self.objects else "no ground truth"
        else:
            seen = sum(self._instance(frame) is not None for frame in self._frames)
            what = f"object {self.object_id} in {seen} of them with ground truth"
        return f"BOP layout, {len(self)} frame(s) of {width}x{height}, {what}"

    def color_file(self, index: int) -> Path:
        """See `Scene.color_file`."""
        return self._folder.color[self._frames[index]]

    def pose(self, index: int) -> np.ndarray | None:
        """See `Scene.pose`."""
        instance = self._instance(self._frames[index])
        return None if instance is None else self._folder.pose(self._frames[index], instance)

    def has_mask(self, index: int) -> bool:
        """See `Scene.has_mask`."""
        if self._given_masks is not None:
            return self.names[index] in self._given_masks
        instance = self._instance(self._frames[index])
        return instance is not None and self._folder.has_visible_mask(self._frames[index], instance)

    def _read(self, index: int) -> Frame:
        frame = self._folder.read(self._frames[index])
        instance = self._instance(self._frames[index])
        frame.object_in_camera = self.pose(index)
        frame.mask = self._mask(index, instance)
        return frame

    def _mask(self, index: int, instance: int | None) -> np.ndarray | None:
        if self._given_masks is not None:
            file = self._given_masks.get(self.names[index])
            return None if file is None else read_mask(file)
        return None if instance is None else self._folder.visible_mask(self._frames[index], instance)

    def _instance(self, frame: int) -> int | None:
        """Index of the object in the frame's ground truth, None where it is not seen or none was chosen."""
        ids = self._folder.object_ids(frame)
        return next((i for i, number in enumerate(ids) if str(number) == self.object_id), None)

    def _choose(self, object_id: str | None) -> str | None:
        if object_id is None:
            return self.objects[0] if len(self.objects) == 1 else None
        if not object_id.isdigit():
            raise SceneError(f"object_id {object_id!r}: BOP objects have numbers, here {', '.join(self.objects)}")
        object_id = str(int(object_id))
        if self._folder.has_truth and object_id not in self.objects:
            raise SceneError(f"object_id {object_id} is not in {self.path}: it has {', '.join(self.objects)}")
        return object_id

    def _find_model(self, number: int) -> None:
        root = self.path.resolve().parent.parent
        for folder in _MODEL_FOLDERS:
            file = root / folder / f"obj_{number:06d}.ply"
            if file.is_file():
                self.mesh_files = [file]
                return
