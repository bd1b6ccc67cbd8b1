"""The released lite weights follow the avocado, through frames in which it is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from live.state_tracker import StateTracker
from many_objects import EstimatorFactory
from pose6d.evaluation.pose_errors import add
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes import open_scene
from test_data.make_avocado_scene import make_avocado_scene

_HALF, _WHOLE = range(2, 3), range(3, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_avocado_scene(tmp_path_factory.mktemp("scenes") / "avocado", 8, progress=False)


@pytest.mark.slow
def test_the_avocado_is_tracked_hidden_and_found_again(folder: Path, device: torch.device) -> None:
    scene = open_scene(folder)
    assert scene.mesh_file is not None
    mesh = load_mesh(scene.mesh_file)
    points = mesh.sample_surface(500, seed=0)
    tracker = StateTracker({"avocado": EstimatorFactory("lite", device)(mesh)})
    states = []
    for i, frame in enumerate(scene):
        assert frame.mask is not None
        assert frame.object_in_camera is not None
        rows, columns = (np.flatnonzero(frame.mask.any(axis=axis)) for axis in (1, 0))
        if i in _HALF or i in _WHOLE:
            right = (columns[0] + columns[-1]) // 2 if i in _HALF else columns[-1] + 10
            cover = slice(rows[0] - 10, rows[-1] + 10), slice(columns[0] - 10, right)
            frame.rgb[cover], frame.depth[cover] = (30, 60, 160), frame.object_in_camera[2, 3] - 0.15
        (found,) = tracker.step(frame) if i else tracker.start(frame, [frame.mask])
        states.append(found.state)
        if found.state == "tracking":
            assert found.pose is not None
            assert add(found.pose, frame.object_in_camera, points) < 0.1 * mesh.diameter
    assert set(states[: _WHOLE.start]) == {"tracking"}
    assert "tracking" not in states[_WHOLE.start : _WHOLE.stop]
    assert states[-1] == "tracking"
