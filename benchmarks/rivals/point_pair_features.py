"""Point pair features of OpenCV's contributed modules, and ICP."""

from __future__ import annotations

import subprocess
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.icp_from_views import lay_onto
from benchmarks.rivals.point_clouds import frame_cloud, model_cloud
from benchmarks.rivals.ppf_process import read_array, write_array
from pose6d.errors import FrameError, MissingDependencyError
from pose6d.mesh.mesh import Mesh

_SPACING = 0.06  # diameters between points; the features of a model grow with the square of their number
_PROGRAM = Path(__file__).with_name("ppf_process.py")


class PointPairFeatures:
    """Drost et al., Model Globally, Match Locally (CVPR 2010), as OpenCV has it; point-to-plane ICP decides.

    OpenCV's own ICP is not asked: it lays the whole model onto what is seen of it, and moves right poses away.

    opencv-contrib-python and opencv-python break each other in one environment, so the work is done by another Python.

    Args:
        mesh: to be found.
        python: interpreter of an environment with opencv-contrib-python.

    Raises:
        MissingDependencyError: that environment does not have it.
    """

    poses: np.ndarray | None = None

    def __init__(self, mesh: Mesh, python: Path):
        self._diameter = float(mesh.diameter)
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen([python, _PROGRAM], stdin=pipe, stdout=pipe)
        except OSError as error:
            raise MissingDependencyError(f"--ppf-python {python}: {error.strerror}") from error
        self._model = model_cloud(mesh, _SPACING)
        self._ended = weakref.finalize(self, _end, self._process)
        if self._ask(_with_normals(self._model)) is None:
            raise MissingDependencyError(
                f"--ppf-python {python} cannot match point pair features: give it opencv-contrib-python"
            )

    @property
    def process(self) -> int:
        """Number of the process that does the work."""
        return self._process.pid

    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = 5
    ) -> np.ndarray:
        """(4, 4) original mesh in camera; arguments as of `FoundationPose.register`, of which neither colours nor the
        number of steps count.

        Raises:
            FrameError: nothing was found.
        """
        seen = frame_cloud(K, depth, ob_mask, self._diameter, _SPACING)
        found = self._ask(_with_normals(seen))
        if found is None or not len(found):
            raise FrameError("no point pairs match")
        return lay_onto(seen, self._model, np.linalg.inv(found.reshape(-1, 4, 4)), self._diameter)

    def _ask(self, cloud: np.ndarray) -> np.ndarray | None:
        """The answer of the process; None if it has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            write_array(self._process.stdin, cloud)
            return read_array(self._process.stdout, 4)
        except OSError:
            return None


def _with_normals(cloud: Any) -> np.ndarray:
    """(N, 6) of Open3D's point cloud."""
    return np.concatenate([np.asarray(cloud.points), np.asarray(cloud.normals)], axis=1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
