"""A suite as a data set: what `python -m pose6d.evaluation` opens for --dataset synthetic:cluttered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scene_workers import make
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool
from benchmarks.accuracy.scoreboard import make_targets
from benchmarks.accuracy.suites import SUITES
from benchmarks.accuracy.trajectories import FRAMES
from pose6d.errors import SceneError
from pose6d.evaluation.datasets import PoseDataset, Target
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.bop_folder import TrueInstance
from pose6d.scenes.frame import Frame

_FRAME_SECONDS = 1 / 30  # of a sequence
_NO_DATASET = {
    "absent": "its object is in no frame, so that only the confidence counts, which a results file does not hold",
    "real": "real frames are read from --real-folder",
}


class SyntheticDataset(PoseDataset):
    """The scenes of one suite, made when they are asked for; those that `benchmarks.accuracy` scores.

    Scene i shows object 1 + i modulo the number of objects, in one image; in the suite `tracking` it is a video.

    Args:
        suite: a name of SUITES.
        mesh_folder: of the objects; procedural ones where None.
        symmetric: parts of the names of objects that look the same from several sides; ADD(-S) counts ADD-S for these.
        scenes: how many; a tenth as many videos.
        seed: of the scenes.

    Raises:
        SceneError: there is no such suite, or it asks for no poses.
        MeshError: the folder holds no mesh.
    """

    def __init__(
        self, suite: str, *, mesh_folder: Path | None = None, symmetric: Sequence[str] = (), scenes: int = 100,
        seed: int = 7,
    ) -> None:  # fmt: skip
        self.name = f"synthetic:{suite}"
        self.path = Path(self.name)
        if suite not in SUITES:
            known = ", ".join(name for name in SUITES if name not in _NO_DATASET)
            raise SceneError(f"--dataset {self.name}: there is no suite {suite!r}; there are {known}")
        if suite in _NO_DATASET:
            raise SceneError(
                f"--dataset {self.name} is no data set: {_NO_DATASET[suite]}; "
                f"score it by python -m benchmarks.accuracy --suites {suite}"
            )
        if scenes < 1:
            raise SceneError(f"--scenes is {scenes}: at least 1 is needed")
        self._suite, self._seed = SUITES[suite], seed
        self.settings = {"mesh_folder": str(mesh_folder), "seed": seed}
        self._objects = make_targets([self._suite], mesh_folder, symmetric, seed)[suite]
        self._pool = ScenePool.from_meshes([target.mesh for target in self._objects])
        frames = 1
        if self._suite.task == "track":
            frames, scenes, self.frame_seconds = FRAMES, -(-scenes // 10), _FRAME_SECONDS
        self.targets = [
            Target(scene, frame, 1 + scene % len(self._objects)) for scene in range(scenes) for frame in range(frames)
        ]
        self._scene = lru_cache(maxsize=1)(self._make)

    def frame(self, scene_id: int, im_id: int) -> Frame:
        """See `PoseDataset.frame`."""
        view = self._scene(scene_id).views[im_id]
        return Frame(f"{scene_id:06d}_{im_id:06d}", view.rgb, view.depth, view.K.astype(np.float64))

    def truths(self, scene_id: int, im_id: int) -> list[TrueInstance]:
        """See `PoseDataset.truths`."""
        scene = self._scene(scene_id)
        truth = scene.views[im_id].truth
        assert truth is not None
        return [TrueInstance(1 + scene.object_index, truth, 0, scene.visible)]

    def truth_file(self, scene_id: int, im_id: int) -> Path:
        """See `PoseDataset.truth_file`; no file, but the scene."""
        return self.path / f"{scene_id:06d}"

    def mask(self, scene_id: int, im_id: int, truth: TrueInstance) -> np.ndarray | None:
        """See `PoseDataset.mask`; of a video only the first image has one."""
        return self._scene(scene_id).mask if im_id == 0 else None

    def mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.mesh`."""
        return self._object(obj_id).for_estimator

    def evaluation_mesh(self, obj_id: int) -> Mesh:
        """See `PoseDataset.evaluation_mesh`."""
        return self._object(obj_id).mesh

    def symmetries(self, obj_id: int, step_degrees: float = 5.0) -> np.ndarray | None:
        """See `PoseDataset.symmetries`; those that are known exactly, in their own steps."""
        found = self._object(obj_id).symmetries
        return found if found is not None and len(found) > 1 else None

    def is_symmetric(self, obj_id: int) -> bool:
        """See `PoseDataset.is_symmetric`."""
        return self._object(obj_id).symmetric

    def _object(self, obj_id: int) -> TargetObject:
        return self._objects[obj_id - 1]

    def _make(self, scene_id: int) -> EvaluationScene:
        return make(self._pool, self._suite, self._seed, scene_id)
