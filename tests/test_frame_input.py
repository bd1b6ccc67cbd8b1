"""The part of a frame that tracking looks at on a CPU: it holds the object wherever it can have gone, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from estimater import FoundationPose
from learning.datasets.objects.random_objects import make_object
from live.state_tracker import StateTracker
from many_objects import ManyObjects
from pose6d.errors import FrameError, OptionError, Pose6DError
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.rendering import make_renderer
from pose6d.search import tracker
from pose6d.search.frame_input import check_depth_roughly, check_frame, check_mask, cut_around
from tests.estimater_scene import K, Scene, random_networks, render_scene
from tests.rendering_scenes import torus

RGB = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).uniform(0.3, 2.0, (240, 320)).astype(np.float32)


def project(points: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
    """(..., 2) pixels of points (..., 3)."""
    u, v, w = (points @ K.to(points.dtype).T).unbind(-1)
    return torch.stack([u / w, v / w], dim=-1)


def pose_at(*translation: float) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = translation
    return pose


def test_the_part_shows_points_where_the_frame_does() -> None:
    rgb, depth, part_K = cut_around(RGB, DEPTH, K, pose_at(0.02, -0.03, 0.9)[None], np.array([0.1]))
    assert rgb.shape[:2] == depth.shape and depth.size < DEPTH.size / 4
    points = torch.tensor([[0.02, -0.03, 0.9], [0.06, -0.05, 0.93], [0.0, 0.0, 0.86]])
    whole, part = (project(points, torch.as_tensor(k, dtype=torch.float32)).round().int() for k in (K, part_K))
    for (u, v), (x, y) in zip(whole.tolist(), part.tolist(), strict=True):
        assert depth[y, x] == DEPTH[v, u] and (rgb[y, x] == RGB[v, u]).all()


@pytest.mark.parametrize("distance", [0.25, 0.6, 1.5])
def test_an_object_that_moves_by_half_its_diameter_stays_in_the_part(distance: float) -> None:
    diameter, generator = 0.08, np.random.default_rng(0)
    _, depth, part_K = cut_around(RGB, DEPTH, K, pose_at(0.0, 0.0, distance)[None], np.array([diameter]))
    for _ in range(50):
        step = generator.normal(size=3)
        middle = np.array([0.0, 0.0, distance]) + step / np.linalg.norm(step) * diameter / 2
        window = middle[:2] + 0.6 * diameter * np.array([[-1.0], [1.0]])  # what a refiner looks at
        corners = torch.as_tensor(np.concatenate([window, np.full((2, 1), middle[2])], 1))
        u, v = project(corners, torch.as_tensor(part_K)).T.numpy()
        inside = (u + 0.5 >= 0) & (u < depth.shape[1]) & (v + 0.5 >= 0) & (v < depth.shape[0])
        assert inside.all() or depth.shape[0] == 240


def test_all_objects_are_in_one_part_and_what_is_outside_asks_for_everything() -> None:
    two = np.stack([pose_at(-0.1, 0.0, 0.8), pose_at(0.1, 0.02, 0.8)])
    _, depth, part_K = cut_around(RGB, DEPTH, K, two, np.array([0.05, 0.05]))
    for pose in two:
        u, v = project(torch.as_tensor(pose[:3, 3]), torch.as_tensor(part_K, dtype=torch.float32)).tolist()
        assert 20 < u < depth.shape[1] - 20 and 20 < v < depth.shape[0] - 20
    for far in (pose_at(5.0, 0.0, 0.8), pose_at(0.0, -5.0, 0.8)):
        assert cut_around(RGB, DEPTH, K, far[None], np.array([0.05]))[1].shape == DEPTH.shape
    behind = cut_around(RGB, DEPTH, K, pose_at(0.0, 0.0, -1.0)[None], np.array([0.05]))[1]
    assert behind.shape == DEPTH.shape


@pytest.fixture(scope="module")
def scene() -> Scene:
    rotation = random_rotations(1, torch.Generator().manual_seed(0))[0]
    return render_scene(torus(), make_transform(rotation, torch.tensor([0.03, -0.02, 0.9])))


def test_tracking_in_the_part_gives_the_same_pose(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    results, sizes = [], []

    def noting(*given: np.ndarray) -> tuple[np.ndarray, ...]:
        part = cut_around(*given)
        sizes.append(part[1].size)
        return part if len(sizes) <= 2 else given[:3]

    monkeypatch.setattr(tracker, "cut_around", noting)
    for _ in range(2):
        estimator = FoundationPose(scene.mesh, **random_networks())
        estimator.start_from(scene.truth)
        results.append([estimator.track_one(scene.rgb, scene.depth, K, iteration=1) for _ in range(2)])
    assert max(sizes) < scene.depth.size / 2
    np.testing.assert_allclose(results[0], results[1], atol=1e-3)  # random networks magnify rounding


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.diag([2.0, 2.0, 2.0, 1.0]), "R is no rotation.*scaled by 2"),
        (pose_at(0.0, 0.0, -0.5), "its middle has z = -0.5, behind the camera"),
        (pose_at(0.0, 0.0, 800.0), "its middle is 800 m from the camera: is it in millimetres"),
    ],
)
def test_tracking_starts_from_no_pose_that_cannot_be(scene: Scene, pose: np.ndarray, message: str) -> None:
    estimator = FoundationPose(scene.mesh, **random_networks())
    with pytest.raises(FrameError, match=f"object_in_camera: {message}"):
        estimator.start_from(pose)


@pytest.mark.parametrize("iteration", [0, 2.5, "5", None, True])
def test_refinement_steps_are_a_whole_number(iteration: object) -> None:
    with pytest.raises(OptionError, match=r"iteration is .*: a whole number of refinement steps is needed, 1 or more"):
        check_frame(K, RGB, DEPTH, iteration)


def test_numbers_that_are_none_are_named_wherever_they_are_given(scene: Scene) -> None:
    """By an error of the project's own, which those who look for a ValueError catch, too."""
    estimator = FoundationPose(scene.mesh, seed=np.int64(3), **random_networks())
    estimator.start_from(scene.truth)
    for call, problem in (
        (lambda: estimator.register(K, scene.rgb, scene.depth, scene.mask, 0), "iteration is 0"),
        (lambda: estimator.track_one(scene.rgb, scene.depth, K, "2"), "iteration is '2'"),
        (
            lambda: ManyObjects([estimator]).register_many(K, scene.rgb, scene.depth, [scene.mask], -1),
            "iteration is -1",
        ),
        (lambda: estimator.warm_up(0, 0), "height is 0: a whole number of pixels is needed, 1 or more"),
        (lambda: estimator.warm_up(480, 640.0), "width is 640.0"),
        (lambda: estimator.warm_up(register_iteration=0), "register_iteration is 0"),
        (lambda: estimator.warm_up(track_iteration=0), "track_iteration is 0"),
        (lambda: StateTracker({"torus": estimator}).warm_up(0, 640), "height is 0"),
        (lambda: FoundationPose(scene.mesh, seed="a", **random_networks()), "seed is 'a': a whole number is needed"),
        (lambda: make_object(-1), "seed is -1: a whole number is needed, 0 or more"),
        (lambda: make_renderer(scene.mesh, "cpu", "opengl"), "backend 'opengl' is unknown"),
    ):
        with pytest.raises(OptionError, match=problem) as raised:
            call()
        assert isinstance(raised.value, Pose6DError) and isinstance(raised.value, ValueError)
    assert estimator.poses is None


def test_what_a_masked_array_masks_is_missing(scene: Scene) -> None:
    hidden = np.random.default_rng(0).random(scene.depth.shape) < 0.2
    depth = np.ma.masked_array(scene.depth, hidden)
    rgb, found, _ = check_frame(K, np.ma.masked_array(scene.rgb), depth, 1)
    np.testing.assert_array_equal(found, np.where(hidden, 0, scene.depth))
    assert type(found) is type(rgb) is np.ndarray
    mask = check_mask(np.ma.masked_array(scene.mask, hidden), found, K, 0.3)
    np.testing.assert_array_equal(mask, scene.mask & ~hidden)
    with pytest.raises(FrameError, match=r"rgb: \d+ values are masked.*rgb\.filled"):
        check_frame(K, np.ma.masked_array(scene.rgb, np.repeat(hidden[..., None], 3, -1)), depth, 1)
    pose = np.ma.masked_array(scene.truth, np.arange(16).reshape(4, 4) == 3)
    with pytest.raises(FrameError, match="object_in_camera: 1 values are masked"):
        FoundationPose(scene.mesh, **random_networks()).start_from(pose)


@pytest.mark.parametrize("what", ["tensors", "tensors with gradients", "PIL", "lists", "read-only", "doubles"])
def test_images_come_in_any_form_that_holds_them(what: str, recwarn: pytest.WarningsRecorder) -> None:
    given = {
        "tensors": lambda: (torch.from_numpy(K), torch.from_numpy(RGB), torch.from_numpy(DEPTH)),
        "tensors with gradients": lambda: (K, RGB, torch.from_numpy(DEPTH.copy()).requires_grad_()),
        "PIL": lambda: (K, Image.fromarray(RGB), Image.fromarray(DEPTH)),
        "lists": lambda: (K.tolist(), RGB, DEPTH.tolist()),
        "read-only": lambda: tuple(np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape) for x in (K, RGB, DEPTH)),
        "doubles": lambda: (K, RGB, np.where(DEPTH > 1.9, 1e300, DEPTH.astype(np.float64))),
    }[what]()
    rgb, depth, intrinsics = check_frame(*given, 1)
    torch.from_numpy(rgb), torch.from_numpy(depth)  # warns of what is read-only
    np.testing.assert_array_equal(intrinsics, K)
    np.testing.assert_array_equal(rgb, RGB)
    np.testing.assert_array_equal(depth[DEPTH < 1.9], DEPTH[DEPTH < 1.9])
    assert not recwarn.list


@pytest.mark.parametrize("wrong", [[[1, 2], [3]], torch.empty(240, 320, 3, device="meta")])
@pytest.mark.parametrize("name", ["rgb", "depth"])
def test_what_is_no_array_is_named(name: str, wrong: object) -> None:
    with pytest.raises(FrameError, match=f"{name} is no array of numbers"):
        check_frame(**{"K": K, "rgb": RGB, "depth": DEPTH, name: wrong}, iteration=1)


def test_tracking_takes_intrinsics_as_lists(scene: Scene) -> None:
    estimator = FoundationPose(scene.mesh, **random_networks())
    estimator.start_from(torch.as_tensor(scene.truth).requires_grad_())
    assert estimator.track_one(scene.rgb, scene.depth, K.tolist(), iteration=1).shape == (4, 4)


@pytest.mark.parametrize("pose", [None, "pose", np.full((4, 4), "1"), np.eye(4, dtype=complex)])
def test_a_start_that_is_no_pose_is_named(scene: Scene, pose: object) -> None:
    with pytest.raises(FrameError, match="object_in_camera"):
        FoundationPose(scene.mesh, **random_networks()).start_from(pose)


def test_depth_that_looks_wrong_in_every_eighth_row_and_column_is_looked_at_as_a_whole() -> None:
    depth = np.full((48, 64), 0.7, np.float32)
    for value in (0.0, 60.0):
        depth[::8, ::8] = value
        check_depth_roughly(depth)
    with pytest.raises(FrameError, match="millimetres"):
        check_depth_roughly(1000 * depth)
