"""Rivals find what they can find, on the same frames, and the table says what they took."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.rivals.__main__ import Options, RivalOutcome, main, markdown
from benchmarks.rivals.icp_from_views import IcpFromViews
from benchmarks.rivals.point_pair_features import PointPairFeatures
from benchmarks.rivals.ppf_process import read_array, write_array
from benchmarks.rivals.published_schedule import PublishedEstimator
from learning.models.config import NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import FrameError, MissingDependencyError, OptionError
from pose6d.evaluation.pose_errors import add_s
from pose6d.evaluation.record import Record
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform, so3_exp
from tests.estimater_scene import SMALL, render_scene
from tests.rendering_scenes import box

TRUTH = make_transform(so3_exp(torch.tensor([0.4, -0.3, 0.2])), torch.tensor([0.05, -0.02, 0.6]))


def test_icp_lays_what_is_seen_onto_the_mesh() -> None:
    pytest.importorskip("open3d")
    scene = render_scene(box((0.12, 0.05, 0.08)), TRUTH)
    estimator = IcpFromViews(scene.mesh)
    pose = estimator.register(**scene.frame, ob_mask=scene.mask)
    error = add_s(pose, scene.truth, scene.mesh.sample_surface(300))
    assert error < 0.05 * scene.mesh.diameter  # sums vary with threads
    with pytest.raises(FrameError, match="0 points under the mask"):
        estimator.register(**scene.frame | {"depth": np.zeros_like(scene.depth)}, ob_mask=scene.mask)


def test_the_published_schedule_moves_all_hypotheses_and_returns_the_original_mesh() -> None:
    mesh = box()
    far = make_transform(TRUTH[:3, :3], TRUTH[:3, 3] - TRUTH[:3, :3] @ torch.tensor([0.2, 0.1, 0.0]))
    scene = render_scene(replace(mesh, vertices=mesh.vertices + np.float32([0.2, 0.1, 0.0])), far)
    torch.manual_seed(0)
    networks = (
        RefineNet(NetworkConfig(kind="refiner", **SMALL)),
        ScoreNetMultiPair(NetworkConfig(kind="scorer", **SMALL)),
    )
    refiner, scorer = (network.eval() for network in networks)
    rotations = rotation_hypotheses()[:6]
    estimator = PublishedEstimator(scene.mesh, refiner, scorer, rotations, torch.device("cpu"))
    start, moved = (estimator.register(**scene.frame, ob_mask=scene.mask, iteration=n) for n in (0, 1))
    assert any(np.allclose(start[:3, :3], rotation, atol=1e-5) for rotation in rotations.numpy())
    middle = start @ np.append(scene.mesh.center, 1.0)
    assert np.linalg.norm(middle[:3] - (scene.truth @ np.append(scene.mesh.center, 1.0))[:3]) < scene.mesh.diameter
    assert not np.allclose(start, moved, atol=1e-4) and np.isfinite(moved).all()


def test_arrays_pass_through_pipes() -> None:
    stream = io.BytesIO()
    arrays = [np.arange(12.0).reshape(2, 6), np.empty((0, 6))]
    for array in arrays:
        write_array(stream, array)
    stream.seek(0)
    for array in arrays:
        np.testing.assert_array_equal(read_array(stream, 6), array)
    assert read_array(stream, 6) is None


@pytest.mark.parametrize("python", ["no/python", sys.executable])
def test_a_python_that_cannot_match_point_pairs_is_named(python: str) -> None:
    pytest.importorskip("open3d")
    with pytest.raises(MissingDependencyError, match=f"--ppf-python {python}"):
        PointPairFeatures(box(), Path(python))


def test_the_table_has_a_row_for_each_rival_and_says_what_nobody_knows() -> None:
    records = [
        Record("cluttered", "box", i, 0.1, add=0.02 + 0.2 * i, add_s=0.02, error=0.02 + 0.2 * i) for i in range(2)
    ]
    for record, seconds in zip(records, (0.1, 0.3), strict=True):
        record.seconds = seconds
    text = markdown({"icp": RivalOutcome(records, memory=3 * 2**20)}, {"device": "here"})
    row = next(line for line in text.splitlines() if "ICP" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["50.0", "100.0", "200.0", "280.0", "3", "-"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(rivals=("cosypose",)), "--rivals cosypose: unknown; there are pruned, full, published, icp, ppf"),
        (Options(rivals=("ppf",)), "--rivals ppf needs --ppf-python"),
        (Options(scenes=0), "--scenes 0: at least one is needed"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Options, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        main(options)
