"""The parts of live tracking: what a frame says of a pose, motion and the state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from live.judgement import StateJudge, explained_share, log_odds
from live.object_track import ObjectTrack
from live.pose_batch import JudgedPoses, PoseBatch
from live.recovery import SearchProgress, region_places, starts_in_doubt
from pose6d.geometry.motion import Motion
from pose6d.geometry.observation import observe
from pose6d.geometry.transforms import make_transform, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.evidence import measure_evidence
from tests.live_frames import Stage, draw_frame, pose_at
from tests.rendering_scenes import box

CENTER = np.array([0.01, -0.02, 0.03])


@pytest.fixture
def stage() -> Stage:
    return Stage()


def evidence(shown: torch.Tensor | None, asked: torch.Tensor, cover: tuple[slice, slice] | None = None) -> dict:
    frame, _ = draw_frame([shown], [box()], cover=cover)
    measured = measure_evidence(
        asked[None], RenderedObject.from_mesh(box(), "cpu"), observe(frame.rgb, frame.depth, frame.K)
    )
    return {name: float(value[0]) for name, value in measured._asdict().items()}


def test_noise_of_poses_is_no_motion() -> None:
    still, moving = Motion(CENTER), Motion(CENTER)
    for i in range(4):
        noise = 0.06 * (-1) ** i  # radians
        for motion, turn in ((still, noise), (moving, noise + 0.12 * i)):
            pose = np.eye(4)
            pose[:3, :3] = so3_exp(torch.tensor([0.0, 0.0, turn], dtype=torch.float64)).numpy()
            motion.add(pose, None)
    assert still.is_fast(2.0, 0.01)
    assert not still.moves(2.5, 0.01)
    assert moving.moves(2.5, 0.01)


def test_poses_predicted_from_predictions_stay_rotations() -> None:
    motion, poses = Motion(CENTER), [np.eye(4), np.eye(4)]
    poses[1][:3, :3] = so3_exp(torch.tensor([0.03, -0.02, 0.05], dtype=torch.float64)).numpy()
    for pose in poses:
        pose[:3, :3] += 1e-5  # as after many float32 products
        motion.add(pose, None)
    for _ in range(60):
        predicted = motion.predict(None)
        assert predicted is not None
        motion.add(predicted, None)
    np.testing.assert_allclose(predicted[:3, :3] @ predicted[:3, :3].T, np.eye(3), atol=1e-5)


def test_the_evidence_of_a_pose_is_what_is_in_the_frame() -> None:
    pose = pose_at(0.0)
    right = evidence(pose, pose)
    assert right["visible"] > 0.98
    assert right["spread"] < 0.1
    assert right["texture"] > 0.8
    assert right["contrast"] == pytest.approx(1.0, abs=0.25)
    assert max(right["beyond"], right["hidden"], right["through"]) < 0.02
    assert right["inside"] == 1.0
    assert max(abs(right[name]) for name in ("red", "green", "blue")) < 0.1, "the silhouette's pixels are mixed ones"

    half = evidence(pose, pose, (slice(0, 240), slice(0, 158)))
    assert 0.3 < half["hidden"] < 0.7
    assert half["visible"] + half["hidden"] > 0.95
    assert half["texture"] > 0.7, "what hides it says nothing of its texture"

    gone = evidence(None, pose)
    assert gone["through"] > 0.99
    assert gone["visible"] == 0.0
    farther = evidence(pose, pose_at(0.0, z=0.58))
    assert farther["offset"] == pytest.approx(0.02, abs=0.004)
    outside = evidence(pose_at(-0.24), pose_at(-0.24))
    assert 0.2 < outside["inside"] < 0.8
    assert outside["visible"] > 0.9
    on_the_wall = evidence(None, pose_at(0.0, z=1.52))
    assert on_the_wall["beyond"] > 0.4 > 10 * right["beyond"]


def test_the_colour_is_that_of_the_light() -> None:
    pose = pose_at(0.0)
    frame, _ = draw_frame([pose], [box()])
    for light in ((0.5, 0.5, 0.5), (0.9, 0.6, 0.6), (0.4, 0.4, 0.8)):
        rgb = (frame.rgb * np.array(light)).astype(np.uint8)
        seen = measure_evidence(pose[None], RenderedObject.from_mesh(box(), "cpu"), observe(rgb, frame.depth, frame.K))
        found = (float(seen.red), float(seen.green), float(seen.blue))
        assert found == pytest.approx(tuple(np.log(light)), abs=0.12), "0.05 of the silhouette, 0.03 of the dark"


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_without_the_print_is_not_that_of_a_printed_object_whatever_the_scorer_says(value: int) -> None:
    pose = pose_at(0.0)
    frame, _ = draw_frame([pose], [box()])
    printed, plain = box(), Mesh(box().vertices, box().faces)
    odds = {}
    for name, mesh in (("printed", printed), ("plain", plain)):
        for rgb in (frame.rgb, np.full_like(frame.rgb, value)):
            seen = measure_evidence(
                pose[None], RenderedObject.from_mesh(mesh, "cpu"), observe(rgb, frame.depth, frame.K)
            )
            evidence = {key: part.numpy() for key, part in seen._asdict().items()}
            judged = JudgedPoses(pose[None].numpy(), np.zeros(1), np.full(1, 0.99), evidence)
            odds[name, rgb is frame.rgb] = float(log_odds(judged)[0])
    assert odds["printed", True] > odds["printed", False] + 6
    assert odds["plain", False] > odds["printed", False] + 4


def test_motion_goes_on_as_it_went() -> None:
    turn, step = torch.tensor([0.0, 0.1, 0.05], dtype=torch.float64), np.array([0.01, 0.0, -0.02])

    def pose(time: float) -> np.ndarray:
        rotation = so3_exp(time * turn) @ so3_exp(torch.tensor([0.5, 0.2, -1.0], dtype=torch.float64))
        middle = np.array([0.1, 0.0, 0.8]) + time * step
        return make_transform(rotation, torch.from_numpy(middle) - rotation @ torch.from_numpy(CENTER)).numpy()

    motion = Motion(CENTER)
    assert motion.predict(1.0) is None
    motion.add(pose(0.0), 10.0)
    assert motion.predict(11.0) is None
    assert not motion.is_fast(0.0, 0.0)
    motion.add(pose(1.0), 11.0)
    for seconds, time in ((12.0, 2.0), (12.5, 2.5), (None, 2.0), (3.0, 2.0), (1e6, 4.0)):
        np.testing.assert_allclose(motion.predict(seconds), pose(time), atol=1e-5)
    assert motion.is_fast(5.0, 1.0)
    assert motion.is_fast(90.0, 0.02)
    assert not motion.is_fast(90.0, 0.1)
    motion.clear()
    assert motion.predict(12.0) is None


def test_states_have_hysteresis() -> None:
    judge = StateJudge()
    judge.start(4.0)
    assert judge.state == "tracking"
    assert judge.update(1.5, 0.0) == "tracking", "a little worse is still good"
    assert judge.update(0.5, 0.0) == "doubtful"
    assert judge.update(1.5, 0.0) == "doubtful", "and must get better than that to count again"
    assert [judge.update(3.0, 0.0) for _ in range(2)] == ["doubtful", "tracking"]
    assert [judge.update(-5.0, 0.9) for _ in range(3)] == ["doubtful"] * 3, "something hides it"
    judge.update(3.0, 0.0)
    assert [judge.update(-5.0, 0.0) for _ in range(3)][-1] == "lost", "nothing hides it"


def test_of_a_pose_of_which_next_to_nothing_is_seen_nobody_is_sure() -> None:
    fits = {name: np.zeros(3) for name in ("through", "spread", "beyond")}
    seen = fits | {"visible": np.array([0.9, 0.1, 0.9]), "inside": np.array([1.0, 1.0, 0.1]), "texture": np.ones(3)}
    seen["contrast"] = np.ones(3)
    odds = log_odds(JudgedPoses(np.stack([np.eye(4)] * 3), np.zeros(3), np.full(3, 0.99), seen))
    assert odds[0] > 2 and (odds[1:] < -5).all()


def cue_values(texture: float, red: float = 0.0, blue: float = 0.0, visible: float = 0.9) -> dict[str, float]:
    values = {"visible": visible, "inside": 1.0, "texture": texture, "through": 0.0, "spread": 0.1, "beyond": 0.0}
    return values | {"contrast": 1.0, "red": red, "green": 0.0, "blue": blue}


def judged(texture: float, red: float = 0.0, blue: float = 0.0) -> JudgedPoses:
    seen = {name: np.array([value]) for name, value in cue_values(texture, red, blue).items()}
    return JudgedPoses(np.eye(4)[None], np.zeros(1), np.full(1, 0.98), seen)


def test_a_pose_without_the_texture_that_its_object_usually_has_is_not_believed() -> None:
    printed, plain = StateJudge(), StateJudge()
    for _ in range(5):
        printed.learn(cue_values(0.9))
        plain.learn(cue_values(0.05))
    strange = judged(0.0)
    assert printed.log_odds(strange)[0] < log_odds(strange)[0] - 2
    assert plain.log_odds(strange)[0] == log_odds(strange)[0], "nothing is missing of a plain object"
    assert printed.log_odds(judged(0.7))[0] == log_odds(judged(0.7))[0], "light changes a texture a little"
    printed.learn(cue_values(0.0, 2.0, visible=0.3))
    assert printed.usual == pytest.approx(0.9), "of what is hardly seen nothing is learned"
    assert printed.color is not None and not printed.color.any()


def test_a_thing_of_another_colour_is_not_believed() -> None:
    judge, other = StateJudge(), judged(0.1, -1.0, -0.9)  # a grey block for a blue one
    assert judge.log_odds(other)[0] == log_odds(other)[0], "nobody knows yet how it looks in this light"
    judge.learn(cue_values(0.1, 0.1, -0.2))
    assert judge.log_odds(other)[0] < log_odds(other)[0] - 3
    in_warmer_light = judged(0.1, 0.4, -0.5)
    assert judge.log_odds(in_warmer_light)[0] == log_odds(in_warmer_light)[0]


def test_an_object_that_is_always_judged_low_is_tracked_where_people_said_that_it_is() -> None:
    low = StateJudge()
    low.start(0.0)
    assert low.state == "tracking"
    assert low.update(-0.5, 0.0) == "tracking"
    assert low.update(-3.0, 0.0) == "doubtful"
    wrong = StateJudge()
    wrong.start(-8.0)
    assert wrong.state == "doubtful", "there is a limit to what people are believed"


def test_what_people_say_does_not_make_up_for_a_registration_that_does_not_know() -> None:
    flat = StateJudge()  # a real box whose mesh has one colour: low, but higher than anything that was ever wrong
    flat.start(-1.1, 0.15)
    assert flat.state == "tracking" and flat.probability(-1.1) > 0.9
    assert all(flat.update(odds, 0.0) == "tracking" for odds in (-0.7, -1.7, -1.9, -0.4))
    for said, rivals in ((0.05, False), (0.48, True)):
        judge = StateJudge()
        judge.start(-0.5, said, rivals)
        assert judge.state == "doubtful" and judge.probability(-0.5) <= said
        states = [judge.update(odds, 0.0) for odds in (-0.5, -1.4, -0.2, 0.4)]
        assert states == ["doubtful"] * 4, "it is followed, since people see it there, but not relied on"
        assert [judge.update(-4.0, 0.0) for _ in range(3)][-1] == "lost"
        assert judge.credit == 0, "nobody vouches for what is found next"


def test_a_frame_that_is_sure_by_itself_ends_the_doubt_of_a_registration() -> None:
    judge = StateJudge()
    judge.start(-0.5, 0.05)
    assert judge.update(0.5, 0.0) == "doubtful"
    assert judge.update(2.2, 0.0) == "tracking"
    assert judge.probability(2.2) > 0.9
    sure = StateJudge()
    sure.start(2.2, 0.05)
    assert sure.state == "tracking", "the frame of the registration may be that one"
    two = StateJudge()
    two.start(2.2, 0.48, rivals=True)
    assert two.update(3.0, 0.0) == "doubtful", "both poses look as good"
    two.rivals = False
    assert two.update(3.0, 0.0) == "tracking"


def test_starts_lie_around_what_is_known() -> None:
    pose = pose_at(0.1).numpy()
    starts = starts_in_doubt([pose, pose], CENTER, 0.2, 16)
    assert len(starts) == 7, "what is known twice counts once, and no start comes twice"
    np.testing.assert_array_equal(starts[0], pose)
    middles = starts[:, :3, :3] @ CENTER + starts[:, :3, 3]
    np.testing.assert_allclose(middles, middles[:1].repeat(7, 0), atol=1e-6)
    angles = np.degrees(np.arccos((np.trace(starts[1:, :3, :3] @ pose[:3, :3].T, axis1=1, axis2=2) - 1) / 2))
    np.testing.assert_allclose(angles, 30.0, atol=0.01)


def test_the_turns_of_what_is_known_are_shared_out_over_the_frames_of_a_doubt() -> None:
    known = [pose_at(0.05 * i).numpy() for i in range(3)]
    frames = [starts_in_doubt(known, CENTER, 0.2, 8, share) for share in range(4)]
    for starts in frames:
        assert starts.shape == (8, 4, 4)
        np.testing.assert_array_equal(starts[:3], known)
    turned = np.concatenate([starts[3:] for starts in frames])
    assert len(np.unique(turned.reshape(-1, 16).round(5), axis=0)) == 18, "all of them, in as few frames as can be"
    assert len(np.unique(turned[:15].reshape(-1, 16).round(5), axis=0)) == 15
    np.testing.assert_array_equal(starts_in_doubt(known, CENTER, 0.2, 2), known[:2])


def test_a_search_turns_to_what_is_new_in_the_picture() -> None:
    search = SearchProgress()
    known = [np.array([0.1 * i, 0.0, 1.0]) for i in range(6)]
    chosen = [search.choose(known, 0.1) for _ in range(3)]
    assert [[row for row, _ in rows] for rows in chosen] == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
    assert [count for _, count in chosen[1]] == [0, 0, 1, 1]
    assert search.choose([*known, np.array([0.05, 0.3, 0.8])], 0.1)[0] == (6, 0)
    for i in range(200):
        search.choose([np.array([0.0, i, 1.0])], 0.1)
    assert len(search.tried) <= 32


def test_rotations_are_laid_against_regions_without_a_network(stage: Stage) -> None:
    """Of the places of a box and a torus, the box's has poses that explain more, among them one near the true one."""
    poses = {"box": pose_at(-0.08), "torus": pose_at(0.1)}
    frame, estimator = stage.show(**poses), stage.estimators["box"]
    track = ObjectTrack("box", 0, estimator, smoothing=False)
    places = region_places(stage.masks, frame, track.diameter)
    fronts, masks = np.stack([p.front for p in places]), np.stack([p.mask for p in places])
    placed = PoseBatch([estimator]).place(frame, 0, track.rotations, track.near, fronts, masks, 10)
    assert placed.poses.shape == (2, 10, 4, 4)
    explained = explained_share(placed.evidence)
    assert explained.shape == (2, 10)
    assert explained[0].max() > explained[1].max() + 0.2
    on_box = torch.from_numpy(placed.poses[0])
    assert (on_box[:, :3, 3] - poses["box"][:3, 3]).norm(dim=1).max() < 0.03
    half_turns = torch.tensor(
        [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    ).diag_embed()  # its shape is the same
    turned = (on_box[:, None, :3, :3] @ half_turns).flatten(0, 1)
    assert min(float(rotation_angle(rotation, poses["box"][:3, :3])) for rotation in turned) < 0.65, "0.648 at most"
    assert stage.refiner.pairs == 0


def test_the_middle_of_an_object_lies_behind_what_is_seen_of_it() -> None:
    pose = pose_at(0.05, -0.03)
    frame, (mask,) = draw_frame([pose], [box()])
    diameter = float(box().diameter)
    (place,) = region_places([np.zeros_like(mask), mask], frame, diameter)
    assert np.linalg.norm(place.middle - pose[:3, 3].numpy()) < 0.2 * diameter
    assert place.front[2] < place.middle[2]
    assert (place.mask == mask).all()
