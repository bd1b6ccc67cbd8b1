"""A run's poses beside the ground truth: errors of each frame, and axis by axis what the comparison figures show.

The translation along an axis is that of the mesh's centre (the middle of its bounding box), whose place does not depend
on where the mesh file has its origin. Angles are those of R = Rz(z) Ry(y) Rx(x), x and z in -180..180 and y in -90..90
degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pose6d.errors import FrameError, SceneError
from pose6d.evaluation.pose_errors import (
    add,
    add_s,
    euler_angles,
    euler_error,
    nearest_symmetric_truth,
    rotation_error,
    translation_error,
)
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.frame import Scene

STEEP_DEGREES = 80.0  # |y| beyond this: x and z turn about nearly the same axis, and their split means little

_MOST_POINTS = 5000  # beyond, ADD of a sample of the surface differs from that of all vertices by far less than 1 %
_FRAMES_AT_ONCE = 128
_WANTED = {
    "capture": "transforms.npy, (N, 4, 4) poses of the camera in the mesh's frame",
    "folder": "annotated_poses/<frame>.txt, 4x4 object in camera in metres",
    "bop": "scene_gt.json, and --object_id where it holds several objects",
}


@dataclass(frozen=True)
class PoseComparison:
    """Poses and ground truth of the N frames that have both.

    Attributes:
        names: of the frames.
        seconds: (N,) since the first frame of the recording.
        estimates: (N, 4, 4) object in camera, metres.
        truths: (N, 4, 4), of all poses that look like the ground truth the one nearest to the estimate.
        center: (3,) the mesh's centre in its own frame, metres.
        translation_mm: (N, 3) estimate minus truth of the centre along the camera's axes.
        euler_deg: (N, 3) estimate minus truth of the angles about x, y and z, -180..180.
        angle_deg: (N,) geodesic angle between both rotations.
        add_mm: (N,) ADD, against `truths`.
        adds_mm: (N,) ADD-S.
        symmetries: how many poses look like the ground truth; 1 for an object without symmetry.
        diameter: of the object, metres.
    """

    names: list[str]
    seconds: np.ndarray
    estimates: np.ndarray
    truths: np.ndarray
    center: np.ndarray
    translation_mm: np.ndarray
    euler_deg: np.ndarray
    angle_deg: np.ndarray
    add_mm: np.ndarray
    adds_mm: np.ndarray
    symmetries: int
    diameter: float

    @property
    def symmetry_note(self) -> str:
        """What a figure has to say about the ground truth it shows; empty for an object without symmetry."""
        if self.symmetries == 1:
            return ""
        return (
            f"symmetric object: of the {self.symmetries} poses that look like the ground truth, "
            "the one closest to the prediction is shown"
        )

    @property
    def steep_frames(self) -> int:
        """How many frames have their y angle so near 90 degrees that x and z cannot be told apart well."""
        return int((np.abs(euler_degrees(self.truths)[:, 1]) > STEEP_DEGREES).sum())

    def rows(self) -> list[dict[str, Any]]:
        """One row per frame for a CSV: millimetres and degrees."""
        columns: dict[str, np.ndarray] = {"seconds": self.seconds}
        columns |= {f"translation_{axis}_mm": self.translation_mm[:, i] for i, axis in enumerate("xyz")}
        columns |= {f"euler_{axis}_deg": self.euler_deg[:, i] for i, axis in enumerate("xyz")}
        columns |= {"angle_deg": self.angle_deg, "add_mm": self.add_mm, "adds_mm": self.adds_mm}
        return [
            {"frame": name, **{key: round(float(values[i]), 6) for key, values in columns.items()}}
            for i, name in enumerate(self.names)
        ]

    def summary(self) -> list[str]:
        """Lines for people: mean and largest error per axis, and the mean of the last tenth, where drift shows."""
        last = max(1, len(self.names) // 10)
        lines = [f"prediction against ground truth, {len(self.names)} frame(s), error per axis:"]
        for what, unit, values in (("translation", "mm", self.translation_mm), ("rotation", "deg", self.euler_deg)):
            for name, numbers in (
                ("mean", np.abs(values).mean(axis=0)),
                ("largest", np.abs(values).max(axis=0)),
                (f"mean of the last {last}", np.abs(values[-last:]).mean(axis=0)),
            ):
                x, y, z = numbers
                lines.append(f"  {what:11s} {name:18s} x {x:6.2f}  y {y:6.2f}  z {z:6.2f} {unit}")
        for what, unit, values in (
            ("geodesic angle", "deg", self.angle_deg),
            ("ADD", "mm", self.add_mm),
            ("ADD-S", "mm", self.adds_mm),
        ):
            lines.append(
                f"  {what:14s}  mean {values.mean():.2f}, largest {values.max():.2f}, "
                f"mean of the last {last} {values[-last:].mean():.2f} {unit}"
            )
        if self.steep_frames:
            lines.append(
                f"  in {self.steep_frames} frame(s) the y angle is beyond {STEEP_DEGREES:.0f} deg, where x and z are "
                "not well defined: read the geodesic angle"
            )
        return lines + ([f"  {self.symmetry_note}"] if self.symmetry_note else [])


def compare_poses(
    estimates: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    seconds: Mapping[str, float],
    mesh: Mesh,
    symmetries: np.ndarray | None,
) -> PoseComparison | None:
    """Compare the frames that have both an estimate and a ground truth; None where none has.

    Args:
        estimates: (4, 4) object in camera by frame name.
        truths: (4, 4) by frame name.
        seconds: when each frame was taken, by name.
        mesh: the object, metres, in the frame of the poses.
        symmetries: (S, 4, 4) transforms that leave the object looking the same, the identity among them, or None.
    """
    names = [name for name in estimates if name in truths]
    if not names:
        return None
    estimate = np.stack([estimates[name] for name in names]).astype(np.float64)
    given = np.stack([truths[name] for name in names]).astype(np.float64)
    truth = nearest_symmetric_truth(estimate, given, symmetries)
    points = _points_of(mesh)
    center = np.asarray(mesh.center, dtype=np.float64)
    return PoseComparison(
        names=names,
        seconds=np.array([seconds[name] for name in names]),
        estimates=estimate,
        truths=truth,
        center=center,
        translation_mm=1000 * (centers(estimate, center) - centers(truth, center)),
        euler_deg=np.degrees(euler_error(estimate, truth)),
        angle_deg=np.degrees(rotation_error(estimate, truth)),
        add_mm=1000 * _by_chunks(add, estimate, truth, points),
        adds_mm=1000 * _by_chunks(add_s, estimate, given, points),
        symmetries=1 if symmetries is None else len(symmetries),
        diameter=mesh.diameter,
    )


def pose_error_table(
    estimates: Mapping[str, np.ndarray], truths: Mapping[str, np.ndarray], mesh: Mesh, symmetries: np.ndarray | None
) -> list[dict[str, Any]]:
    """Errors of each frame that has both an estimate and a ground truth; arguments as for `compare_poses`.

    Returns:
        Rows of frame, rotation_deg, translation_mm, add_diameters, adds_diameters (fractions of the diameter).
    """
    names = [name for name in estimates if name in truths]
    if not names:
        return []
    points = _points_of(mesh)
    estimate, truth = (np.stack([poses[name] for name in names]) for poses in (estimates, truths))
    columns = {
        "rotation_deg": np.degrees(rotation_error(estimate, truth, symmetries)),
        "translation_mm": 1000 * translation_error(estimate, truth, symmetries),
        "add_diameters": add(estimate, truth, points) / mesh.diameter,
        "adds_diameters": add_s(estimate, truth, points) / mesh.diameter,
    }
    return [{"frame": name, **{k: round(float(v[i]), 6) for k, v in columns.items()}} for i, name in enumerate(names)]


def summarise_errors(rows: list[dict[str, Any]], symmetric: bool) -> list[str]:
    """Lines for people: mean and largest error, and how many frames are within 0.1 diameters.

    Args:
        rows: of `pose_error_table`, at least one.
        symmetric: whether the object has symmetries, so that ADD-S is the measure to quote.
    """
    lines = []
    for key, title in (("adds_diameters", "ADD-S"), ("add_diameters", "ADD")):
        values = np.array([row[key] for row in rows])
        within = int((values < 0.1).sum())
        note = " (the object is symmetric: ADD-S counts)" if symmetric and title == "ADD" else ""
        lines.append(
            f"{title:5s} mean {values.mean():.4f} d, max {values.max():.4f} d, "
            f"within 0.1 d: {within} of {len(values)}{note}"
        )
    if not symmetric:
        lines.reverse()
    for key, unit in (("rotation_deg", "deg"), ("translation_mm", "mm")):
        values = np.array([row[key] for row in rows])
        lines.append(f"{key.split('_')[0]} error mean {values.mean():.2f} {unit}, max {values.max():.2f} {unit}")
    return lines


def _points_of(mesh: Mesh) -> np.ndarray:
    return mesh.vertices if len(mesh.vertices) <= _MOST_POINTS else mesh.sample_surface(_MOST_POINTS)


def _by_chunks(
    error: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    estimate: np.ndarray,
    truth: np.ndarray,
    points: np.ndarray,
) -> np.ndarray:
    """(N,) errors, computed for some frames at a time: thousands of frames times thousands of points fill a memory."""
    chunks = [slice(start, start + _FRAMES_AT_ONCE) for start in range(0, len(estimate), _FRAMES_AT_ONCE)]
    return np.concatenate([error(estimate[chunk], truth[chunk], points) for chunk in chunks])


def centers(poses: np.ndarray, center: np.ndarray) -> np.ndarray:
    """(N, 3) where the object's point `center` (3,) lies in the camera's frame, for poses (N, 4, 4)."""
    return poses[:, :3, :3] @ center + poses[:, :3, 3]


def euler_degrees(poses: np.ndarray) -> np.ndarray:
    """(N, 3) degrees about x, y and z of poses (N, 4, 4); see `pose_errors.euler_angles`."""
    return np.degrees(euler_angles(poses))


def unwrap_degrees(degrees: np.ndarray) -> np.ndarray:
    """Angles over time (N, 3) without the jumps of 360 degrees, for a curve one can follow; starts in -180..180."""
    return np.unwrap(degrees, period=360.0, axis=0)


def nearest_turn(degrees: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same angles, each with as many whole turns as bring it within 180 degrees of its reference."""
    return reference - ((reference - degrees + 180.0) % 360.0 - 180.0)


def require_ground_truth(scene: Scene, frames: list[int]) -> None:
    """Raise SceneError unless one of the frames has ground truth; reads no further than the first that has."""
    damaged = ""
    for index in frames:
        try:
            if scene[index].object_in_camera is not None:
                return
        except FrameError as error:  # the others are named later, where the frames are used
            damaged = damaged or f"; what cannot be read: {error}"
    raise SceneError(
        f"--compare needs ground truth, and none of the {len(frames)} frame(s) of {scene.path} has any: wanted "
        f"{_WANTED.get(scene.kind, 'Frame.object_in_camera')}. Without --compare the scene runs as it is{damaged}"
    )
