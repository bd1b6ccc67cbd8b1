"""Poses against ground truth per axis: known motions give known errors, through symmetries and across the wrap."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose6d.errors import FrameError, SceneError
from pose6d.evaluation.pose_errors import add_s
from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.symmetry import parse_symmetry
from pose6d.report.comparison import (
    PoseComparison,
    compare_poses,
    nearest_turn,
    require_ground_truth,
    unwrap_degrees,
)
from pose6d.report.comparison_plots import error_figure, pose_figure, write_comparison
from pose6d.report.run_folder import RunFolder
from pose6d.scenes.frame import Frame, Scene

DEGREE = math.pi / 180
NAMES = [f"{i:03d}" for i in range(20)]


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rz Ry Rx, degrees."""
    Rx, Ry, Rz = (cv2.Rodrigues(angle * DEGREE * axis)[0] for angle, axis in zip((x, y, z), np.eye(3), strict=True))
    return Rz @ Ry @ Rx


def pose(x: float = 0, y: float = 0, z: float = 0, t: tuple[float, float, float] = (0, 0, 0.5)) -> np.ndarray:
    return rigid_transform(rotation(x, y, z), t)


def bottle(offset: float = 0.0) -> Mesh:
    """A prism of 36 sides about z, whose file has its origin `offset` metres beside it."""
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ring = np.stack([0.03 * np.cos(angles), 0.03 * np.sin(angles)], axis=1)
    vertices = np.concatenate([np.c_[ring, np.full(36, z)] for z in (-0.06, 0.06)])
    faces = [(i, (i + 1) % 36, i + 36) for i in range(36)] + [
        (i + 36, (i + 1) % 36, (i + 1) % 36 + 36) for i in range(36)
    ]
    return Mesh(vertices=vertices + np.array([offset, 0, 0]), faces=np.array(faces), name="bottle")


def compare(estimates: list[np.ndarray], truths: list[np.ndarray], **changes: object) -> PoseComparison:
    names = NAMES[: len(estimates)]
    options = {"mesh": bottle(), "symmetries": None, **changes}
    found = compare_poses(
        dict(zip(names, estimates, strict=True)),
        dict(zip(names, truths, strict=True)),
        {name: i / 30 for i, name in enumerate(names)},
        **options,  # type: ignore[arg-type]
    )
    assert found is not None
    return found


def test_known_offsets_are_found_on_their_axes() -> None:
    truth = [pose(10, 20, 30)] * 4
    moved = [pose(10, 20, 30, (0.001, -0.002, 0.503))] * 2 + [pose(13, 20, 30), pose(10, 20, 26)]
    found = compare(moved, truth)
    np.testing.assert_allclose(found.translation_mm[0], [1, -2, 3], atol=1e-9)
    np.testing.assert_allclose(found.euler_deg[2:], [[3, 0, 0], [0, 0, -4]], atol=1e-9)
    np.testing.assert_allclose(found.angle_deg, [0, 0, 3, 4], atol=1e-6)
    np.testing.assert_allclose(found.add_mm[:2], math.sqrt(14), atol=1e-6)
    np.testing.assert_allclose(found.seconds, [0, 1 / 30, 2 / 30, 3 / 30])


def test_an_angle_across_180_degrees_is_a_small_error() -> None:
    found = compare([pose(x=-179.5), pose(z=179)], [pose(x=179.5), pose(z=-179)])
    np.testing.assert_allclose(found.euler_deg, [[1, 0, 0], [0, 0, -2]], atol=1e-6)
    assert nearest_turn(np.array([181.0, -90.0, 359.0]), np.array([0.0, 200.0, 710.0])).tolist() == [
        -179.0,
        270.0,
        719.0,
    ]
    turning = unwrap_degrees(np.array([[170.0, 0, 0], [-175.0, 0, 0], [-150.0, 0, 0]]))
    np.testing.assert_allclose(turning[:, 0], [170, 185, 210])


def test_the_error_of_the_place_does_not_depend_on_the_origin_of_the_mesh() -> None:
    """A rotation about the object's centre moves a far origin by centimetres, and the object not at all."""
    mesh = bottle(offset=0.5)
    R = rotation(5, 0, 0) @ rotation(0, 5, 0)
    about_center = rigid_transform(R, mesh.center - R @ mesh.center)
    found = compare([pose() @ about_center], [pose()], mesh=mesh)
    np.testing.assert_allclose(found.translation_mm, 0, atol=1e-6)
    assert found.angle_deg[0] > 6


def test_symmetric_objects_are_compared_with_the_closest_pose_that_looks_the_same() -> None:
    symmetries = parse_symmetry("continuous z; 180 x").numpy()
    truth = pose(30, 20, 10, (0.1, 0, 0.6))
    turned = [truth @ S @ pose(1, 0, 0, (0, 0, 0)) for S in symmetries[::9].astype(np.float64)]
    found = compare(turned, [truth] * len(turned), symmetries=symmetries)
    np.testing.assert_allclose(found.angle_deg, 1, atol=1e-2)
    assert np.abs(found.translation_mm).max() < 1e-3
    assert found.add_mm.max() < 2.0
    assert f"{len(symmetries)} poses that look like the ground truth" in found.symmetry_note
    assert found.summary()[-1].strip() == found.symmetry_note
    plain = compare([turned[len(turned) // 2]], [truth])
    assert plain.angle_deg[0] > 90
    assert plain.symmetry_note == ""


def test_the_truth_is_the_symmetric_pose_nearest_to_the_estimate() -> None:
    found = compare([pose(z=80), pose(z=-100)], [pose(z=1), pose(z=2)], symmetries=parse_symmetry("90 z").numpy())
    np.testing.assert_allclose(found.truths, np.stack([pose(z=91), pose(z=-88)]), atol=1e-6)
    np.testing.assert_allclose(found.euler_deg[:, 2], [-11, -12], atol=1e-4)


def test_frames_without_truth_are_left_out_and_none_is_none() -> None:
    estimates = {name: pose() for name in NAMES[:3]}
    seconds = dict.fromkeys(NAMES, 0.0)
    found = compare_poses(estimates, {NAMES[1]: pose(), NAMES[9]: pose()}, seconds, bottle(), None)
    assert found is not None and found.names == [NAMES[1]]
    assert compare_poses(estimates, {NAMES[9]: pose()}, seconds, bottle(), None) is None


def test_adds_is_against_the_ground_truth_as_given() -> None:
    mesh, estimate, truth = bottle(), pose(2, 3, 90), pose()
    found = compare([estimate], [truth], symmetries=parse_symmetry("continuous z").numpy())
    assert found.adds_mm[0] == pytest.approx(1000 * add_s(estimate, truth, mesh.vertices))


def test_long_recordings_are_computed_in_parts() -> None:
    names = [str(i) for i in range(300)]
    truths = {name: pose(t=(0, 0, 0.5)) for name in names}
    estimates = {name: pose(t=(0.001 * i, 0, 0.5)) for i, name in enumerate(names)}
    found = compare_poses(estimates, truths, dict.fromkeys(names, 0.0), bottle(), None)
    assert found is not None
    np.testing.assert_allclose(found.add_mm, np.arange(300), atol=1e-9)


def test_late_divergence_is_told() -> None:
    truths = [pose(t=(0, 0, 0.5))] * 20
    estimates = [*truths[:18], pose(x=16), pose(x=16)]
    text = "\n".join(compare(estimates, truths).summary())
    assert "mean of the last 2" in text
    assert "x  16.00  y   0.00  z   0.00 deg" in text


def test_a_steep_view_is_told() -> None:
    found = compare([pose(y=88)] * 3 + [pose(y=10)], [pose(y=88)] * 3 + [pose(y=10)])
    assert found.steep_frames == 3
    assert "in 3 frame(s) the y angle is beyond 80 deg" in "\n".join(found.summary())
    assert "3 frame(s)" in error_figure(found).get_suptitle()


def test_figures_and_table_are_written(tmp_path: Path) -> None:
    truths = [pose(x=170 + i, t=(0.01 * i, 0, 0.5)) for i in range(20)]
    estimates = [pose(x=170.5 + i, t=(0.01 * i + 0.001, 0, 0.5)) for i in range(20)]
    found = compare(estimates, truths, symmetries=parse_symmetry("180 z").numpy())
    lines = write_comparison(RunFolder(tmp_path / "out"), found)
    for name in ("poses_vs_ground_truth", "errors_per_axis"):
        png, pdf = ((tmp_path / "out" / f"{name}.{kind}").read_bytes() for kind in ("png", "pdf"))
        assert png.startswith(b"\x89PNG")
        assert pdf.startswith(b"%PDF")
        picture = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert picture.shape[1] == 1650
        assert (picture.std(axis=(1, 2)) > 0).mean() > 0.8  # drawn all over
    rows = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert rows[0] == (
        "frame,seconds,translation_x_mm,translation_y_mm,translation_z_mm,euler_x_deg,euler_y_deg,euler_z_deg,"
        "angle_deg,add_mm,adds_mm"
    )
    values = [float(x) for x in rows[15].split(",")[1:]]
    np.testing.assert_allclose(values[:8], [14 / 30, 1, 0, 0, 0.5, 0, 0, 0.5], atol=1e-4)
    assert lines[0] == "prediction against ground truth, 20 frame(s), error per axis:"
    assert write_comparison(RunFolder(tmp_path / "none"), None)[0].startswith("nothing to compare")


def test_the_pose_figure_follows_turns_beyond_180_degrees_and_names_symmetry() -> None:
    truths = [pose(x=170 + 3 * i) for i in range(10)]
    figure = pose_figure(compare(truths, truths, symmetries=parse_symmetry("180 z").numpy()))
    assert "closest to the prediction" in figure.get_suptitle()
    about_x = figure.axes[1]
    assert about_x.get_title(loc="left") == "Rotation about X"
    for line in about_x.get_lines():
        assert np.abs(np.diff(line.get_ydata())).max() < 4
    truth, estimate = (line.get_ydata() for line in about_x.get_lines())
    np.testing.assert_allclose(truth, estimate, atol=1e-6)
    assert figure.axes[-1].get_xlabel() == "time in seconds"


def test_one_frame_can_be_drawn() -> None:
    pose_figure(compare([pose()], [pose()])).draw_without_rendering()
    error_figure(compare([pose()], [pose()])).draw_without_rendering()


class Recording(Scene):
    kind = "capture"
    description = ""

    def __init__(self, path: Path, truths: list[np.ndarray | None]) -> None:
        super().__init__(path)
        self.names, self.size, self.truths, self.read = [str(i) for i in range(len(truths))], (4, 4), truths, 0

    def _read(self, index: int) -> Frame:
        self.read += 1
        blank = np.zeros((4, 4), dtype=np.float32)
        rgb = np.zeros((4, 4, 3), dtype=np.uint8)
        return Frame(self.names[index], rgb, blank, np.eye(3), object_in_camera=self.truths[index])


def test_missing_ground_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"--compare needs ground truth, and none of the 3 frame.*transforms\.npy"):
        require_ground_truth(Recording(tmp_path, [None] * 3), [0, 1, 2])
    scene = Recording(tmp_path, [None, pose(), pose()])
    require_ground_truth(scene, [0, 1, 2])
    assert scene.read == 2

    class Damaged(Recording):
        def _read(self, index: int) -> Frame:
            raise FrameError(f"annotated_poses/{index}.txt holds 3 numbers")

    with pytest.raises(SceneError, match=r"what cannot be read: annotated_poses/0\.txt holds 3 numbers"):
        require_ground_truth(Damaged(tmp_path, [None] * 2), [0, 1])
