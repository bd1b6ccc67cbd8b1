"""Data sets in BOP format: LM, LM-O, YCB-V, T-LESS, TUD-L, IC-BIN, ITODD, HB, and your own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import MeshError, SceneError, listing, shorten
from pose6d.evaluation.datasets import PoseDataset, Target, find_folder, find_keyframes, read_keyframes
from pose6d.json_file import read_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.symmetry import bop_symmetry
from pose6d.scenes.bop_folder import BopFolder, TrueInstance
from pose6d.scenes.frame import Frame

_DIAMETERS_DIFFER = 2.0  # times; a diameter of the bounding box is up to 1.73 times that of the points, a unit 10 times
_LEAST_VISIBLE = 0.1  # of an instance's silhouette, where no targets file says what to find (as in BOP Challenge 2019)


@dataclass(frozen=True)
class BopLayout:
    """Where one data set differs from the others. Gray images are told by the folder gray/ in place of rgb/.

    Attributes:
        splits: folders of images to evaluate on, the first that is there counts.
        models: folders of meshes to find objects with.
        private: splits whose ground truth is not published.
        own_object_only: scene i is about object i, others in view are not targets.
        left_out: objects that nobody evaluates on, where no targets file says what to find.
    """

    splits: tuple[str, ...] = ("test", "test_primesense", "val", "val_primesense")
    models: tuple[str, ...] = ("models", "models_cad", "models_reconst", "models_eval")
    private: tuple[str, ...] = ()
    own_object_only: bool = False
    left_out: tuple[int, ...] = ()


# By the data set's folder name.
LAYOUTS = {
    "lm": BopLayout(("test",), own_object_only=True, left_out=(3, 7)),
    "linemod": BopLayout(("test",), own_object_only=True, left_out=(3, 7)),
    "lmo": BopLayout(("test",)),
    "ycbv": BopLayout(("test",)),
    "tless": BopLayout(("test_primesense",), ("models_cad", "models_reconst")),
    "tudl": BopLayout(("test",)),
    "icbin": BopLayout(("test",)),
    "itodd": BopLayout(("test", "val"), private=("test",)),
    "hb": BopLayout(("test_primesense", "val_primesense"), private=("test_primesense",)),
}


class BopDataset(PoseDataset):
    """A folder with <split>/<scene>/ (see `BopFolder`), models*/ and test_targets_bop19.json.

    What is asked for: the targets file; without one, the images that keyframe.txt lists (lines "0048/000001"); without
    that, every instance that is at least 10 % visible. LINEMOD asks in scene i for object i only, and not for 3 and 7.

    Args:
        path: the folder; its name picks an entry of `LAYOUTS`.
        split: for example "val"; by default the first of the layout's that is there.
        targets_file: instead of the data set's own.
        models: folder of meshes to find objects with, for example "models_reconst".

    Raises:
        SceneError: a part is missing or malformed.
    """

    unit = "mm"

    def __init__(
        self, path: Path, *, split: str | None = None, targets_file: Path | None = None, models: str | None = None
    ) -> None:
        self.path, self.name = path, path.resolve().name
        self.layout = LAYOUTS.get(self.name.lower(), BopLayout())
        wanted = (split,) if split else self.layout.splits
        images = find_folder(path, *wanted)
        if images is None:
            raise SceneError(f"{path} has none of {', '.join(wanted)}: found {listing(path)}; pass --split")
        self.split, self._images = images.name, images
        self._models = find_folder(path, *((models,) if models else self.layout.models))
        self._evaluation_models = find_folder(path, "models_eval") or self._models
        if self._models is None or self._evaluation_models is None:
            raise SceneError(f"{path} has no {models or 'models'} folder: unpack the data set's models into it")
        self._info_file = self._evaluation_models / "models_info.json"
        self._info = _models_info(self._info_file)
        file = targets_file or path / f"{self.split.split('_')[0]}_targets_bop19.json"
        if targets_file is not None or file.is_file():
            self.targets = _read_targets(file)
        else:
            self.targets = sorted(self._targets_from_truth(path))
        if not self.targets:
            raise SceneError(f"{path}: nothing to find: {file} is missing or empty, and the split has no ground truth")
        # Consecutive images often are of one scene; a folder holds only JSON, so that a few may stay open.
        self._folder = lru_cache(maxsize=4)(self._open)

    def frame(self, scene_id: int, im_id: int) -> Frame:
        """See `PoseDataset.frame`."""
        return self._folder(scene_id).read(im_id)

    def truths(self, scene_id: int, im_id: int) -> list[TrueInstance]:
        """See `PoseDataset.truths`."""
        folder = self._folder(scene_id)
        if not folder.has_truth:
            why = "is kept private for this split: submit the results to bop.felk.cvut.cz, or use --split val"
            missing = "is missing: was all of the data set unpacked?"
            raise SceneError(f"{folder.path / 'scene_gt.json'} {why if self.split in self.layout.private else missing}")
        return folder.instances(im_id)

    def truth_file(self, scene_id: int, im_id: int) -> Path:
        """See `PoseDataset.truth_file`."""
        return self._folder(scene_id).path / "scene_gt.json"

    def mask(self, scene_id: int, im_id: int, truth: TrueInstance) -> np.ndarray | None:
        """See `PoseDataset.mask`."""
        return self._folder(scene_id).visible_mask(im_id, truth.index)

    def mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.mesh`."""
        return self._load(self._models, obj_id)

    def evaluation_mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.evaluation_mesh`: models_eval/ where there is one."""
        return self._load(self._evaluation_models, obj_id)

    def diameter(self, obj_id: int) -> float:
        """See `PoseDataset.diameter`."""
        stated = self._entry(obj_id).get("diameter")
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated < 1e9:
            raise SceneError(
                f"{self._info_file}: the diameter of object {obj_id} is {stated!r}, wanted a number in millimetres"
            )
        return float(stated) * 1e-3

    def symmetries(self, obj_id: int, step_degrees: float = 5.0) -> np.ndarray | None:
        """See `PoseDataset.symmetries`."""
        try:
            found = bop_symmetry(self._entry(obj_id), step_degrees=step_degrees).numpy()
        except MeshError as error:
            raise MeshError(f"{self._info_file}, object {obj_id}: {error}") from error
        return found if len(found) > 1 else None

    def _load(self, folder: Path | None, obj_id: int) -> Mesh:
        assert folder is not None  # checked on opening
        file = folder / f"obj_{obj_id:06d}.ply"
        mesh = load_mesh(file, unit="mm", keep_debris=True)  # errors are defined on the whole model
        if "diameter" in self._info.get(str(obj_id), {}):
            measured, stated = 1000 * mesh.diameter, 1000 * self.diameter(obj_id)
            if not stated / _DIAMETERS_DIFFER <= measured <= stated * _DIAMETERS_DIFFER:
                small = file.name if measured < stated else self._info_file.name
                raise MeshError(
                    f"{file}: object {obj_id} measures {measured:.4g} mm, but {self._info_file} states a diameter of "
                    f"{stated:.4g} mm: both are wanted in millimetres; is {small} in metres, or of another object?"
                )
        return mesh

    def _entry(self, obj_id: int) -> dict[str, Any]:
        if str(obj_id) not in self._info:
            raise SceneError(f"{self._info_file} has no object {obj_id}: it has {shorten(list(self._info))}")
        return self._info[str(obj_id)]

    def _open(self, scene_id: int) -> BopFolder:
        folder = self._images / f"{scene_id:06d}"
        if not folder.is_dir():
            raise SceneError(f"{folder} does not exist, but the targets name scene {scene_id}: unpack all of the split")
        return BopFolder(folder)

    def _targets_from_truth(self, root: Path) -> Iterable[Target]:
        listed = find_keyframes(root)
        keyframes = None if listed is None else set(read_keyframes(listed))
        for folder in sorted(self._images.glob("[0-9]*/scene_camera.json")):
            scene_id, scene = int(folder.parent.name), BopFolder(folder.parent)
            for im_id in scene.frames:
                if keyframes is not None and (scene_id, im_id) not in keyframes:
                    continue
                seen = [t.object_id for t in scene.instances(im_id) if t.visible_fraction >= _LEAST_VISIBLE]
                for obj_id, count in Counter(seen).items():
                    own = obj_id == scene_id or not self.layout.own_object_only
                    if own and obj_id not in self.layout.left_out:
                        yield Target(scene_id, im_id, obj_id, count)


def _models_info(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SceneError(f"{file} is missing: it holds the objects' diameters and symmetries")
    info = read_json(file)
    if not isinstance(info, dict) or not all(isinstance(entry, dict) for entry in info.values()):
        raise SceneError(f"{file}: wanted an object with one entry per object number")
    return info


def _read_targets(path: Path) -> list[Target]:
    entries = read_json(path)
    try:
        found = [Target(*(int(e[key]) for key in ("scene_id", "im_id", "obj_id", "inst_count"))) for e in entries]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneError(
            f"{path}: wanted a list of entries with scene_id, im_id, obj_id and inst_count, as in "
            f"test_targets_bop19.json; reading it failed with {error!r}"
        ) from error
    twice = [key for key, count in Counter(target[:3] for target in found).items() if count > 1]
    if twice:
        raise SceneError(f"{path} names (scene, image, object) {twice[0]} twice: give its inst_count once")
    return sorted(found)
