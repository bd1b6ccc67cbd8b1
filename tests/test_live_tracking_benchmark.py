"""The benchmark of live tracking: what counts as right, wrong, hidden and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.live_tracking.fit import fit_weights
from benchmarks.live_tracking.scores import FrameScore, PoseScorer, score_sequence
from benchmarks.live_tracking.sequences import real_as_it_is
from benchmarks.live_tracking.table import HEADER, jitter, summary
from live.tracked_pose import TrackedPose
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame
from tests.demo_recording import write_recording
from tests.live_frames import draw_frame, pose_at
from tests.rendering_scenes import box


def score(state: str, visible: float, error: float | None) -> FrameScore:
    degrees = None if error is None else 10 * error
    return FrameScore(state, visible, error, degrees, degrees, degrees, 0.9, 0.01)


def test_a_sequence_is_counted_frame_by_frame() -> None:
    frames = [
        score("tracking", 1.0, 0.0),  # the registration does not count
        score("tracking", 1.0, 0.01),
        score("doubtful", 1.0, 0.02),
        score("tracking", 1.0, 0.5),
        score("tracking", 0.0, 0.01),  # hidden, though the pose is right
        score("lost", 0.0, None),
        score("lost", 0.3, None),
        score("lost", 0.9, None),
        score("tracking", 0.9, 0.4),
        score("tracking", 0.9, 0.03),
    ]
    counted = score_sequence("one", frames)
    assert (counted.frames, counted.seen, counted.right) == (9, 6, 3)
    assert (counted.tracking, counted.wrong_tracking) == (5, 3)
    assert (counted.hidden, counted.hidden_tracking) == (2, 1)
    assert counted.found_after == 3
    assert score_sequence("one", frames[:8]).found_after is None
    assert score_sequence("one", frames[:3]).found_after == -1
    row = summary([counted], [frames])
    assert len(row) == len(HEADER) - 1
    assert row[:5] == ["1", "50.0", "60.00", "1 of 2", "1 of 1; 3, 3"]


def test_a_result_is_compared_with_the_truth() -> None:
    pose, mesh = pose_at(0.0).numpy(), box()
    frame, (mask,) = draw_frame([pose_at(0.0)], [mesh])
    frame.mask, frame.object_in_camera = mask, pose.astype(np.float64)
    scorer = PoseScorer(mesh, torch.device("cpu"))
    off = pose.copy()
    off[:3, 3] += [0.003, 0.0, 0.004]
    found = scorer.score(TrackedPose("box", "tracking", off, 0.9), frame, 1.0, 0.1)
    assert found.right
    assert np.allclose([found.degrees, found.lateral, found.along], [0.0, 0.003, 0.004], atol=1e-3)
    assert scorer.score(TrackedPose("box", "lost", None, None), frame, 1.0, 0.1).error is None
    empty = Frame("1", frame.rgb, frame.depth, frame.K, np.zeros_like(mask))
    assert scorer.score(TrackedPose("box", "tracking", off, 0.9), empty, 0.0, 0.1).error == np.inf, "it is not there"
    still = [scorer.score(TrackedPose("box", "tracking", p, 0.9), frame, 1.0, 0.1) for p in (pose, off, pose)]
    assert jitter(still) == "0.00 degrees, 5.00 mm"


def test_a_real_recording_is_shown_to_and_fro(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "recording")
    names = {jumps: [frame.name for frame in real_as_it_is(folder, 3, jumps).frames] for jumps in (False, True)}
    first, *middle, last = [frame.name for frame in open_scene(folder)]
    assert names[False] == [first, *middle, last, *reversed(middle), first, *middle, last]
    assert names[True] == [first, *middle, last] * 3


def test_the_fit_finds_what_tells_right_from_wrong() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3))
    right = 3 * rows[:, 0] - rows[:, 1] + 0.5 > 0
    weights, offset = fit_weights(rows, right)
    assert weights[0] > 0 > weights[1]
    assert abs(weights[2]) < 0.3
    assert (((rows @ weights + offset) > 0) == right).mean() > 0.97


def test_of_an_object_that_looks_the_same_from_several_sides_add_s_counts() -> None:
    truth = pose_at(0.0)
    frame, (mask, *_) = draw_frame([truth], [box()])
    frame.object_in_camera, frame.mask = truth.numpy(), mask
    turned = truth.numpy() @ np.diag([-1.0, -1.0, 1.0, 1.0])  # a box is one again after half a turn
    cpu = torch.device("cpu")
    plain, same = (PoseScorer(box(), cpu, symmetric).error(turned, frame) for symmetric in (False, True))
    assert plain is not None and same is not None
    assert same < 0.1 < plain
