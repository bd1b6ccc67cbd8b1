"""The record of one pose that was asked for: what of, where, and how wrong the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.pose_errors import add, add_s, nearest_symmetric_truth, rotation_error, translation_error

RIGHT = 0.1  # diameters
LIKELY = 0.1  # probability above which an alternative counts


@dataclass
class Record:
    """One pose that the estimator gave, or failed to give.

    Attributes:
        suite, object, index: what was to be found where; `index` counts the suite's scenes.
        frame: of a sequence, 0 otherwise.
        recording: name of a real recording, else empty.
        quantized: variant of the networks, empty for the weights as they are.
        diameter: of the object, metres.
        symmetric: the object looks the same from several sides.
        present: the object is in the frame, under the mask.
        visible: the part of its silhouette that can be seen.
        seconds: that register or track_one took.
        confidence: as the estimator gave it, None where the weights have none.
        failure: why there is no pose, such as the message of the estimator that refused the frame.
        lost: a tracked object that is so far off that tracking started again from the truth.
        add, add_s, error: ADD, ADD-S and the one of them that counts, diameters; see `measure`. None, like the other
            errors, where there is no truth or no pose.
        best_add: the least `add` among the hypotheses, diameters.
        degrees, millimetres: errors of rotation and translation.
        pose: row-major 4x4 object in camera, kept for real frames.
        alternatives: the probabilities of all poses that the estimator left open, the given one first; None where it
            gives only one pose.
        none_probability: that none of them is right.
        second_pose: the second of them, like `pose`.
        best_alternative: the least `error` among the likely ones, diameters. A pose is likely with more than 0.1; where
            there are no alternatives, the given one is.
        set_size: how many poses no picture tells from the truth (`EquivalentPoses`), those within 0.1 diameter of each
            other counted once. None, like what follows, where the set is not known.
        set_error: ADD to the nearest pose of that set, diameters.
        precision: share of the likely poses that are within 0.1 diameter of one of the set.
        recall: whether any of the likely poses is.
        coverage: share of the set within 0.1 diameter of a likely pose.
        texture: standard deviation of the albedo over what can be seen.
        mask_iou: of the silhouette, where nothing is in front of it, with the mask; of real frames.
        depth_residual: mean distance of drawn and measured depth under the mask, diameters; of real frames.
    """

    suite: str
    object: str
    index: int
    diameter: float
    frame: int = 0
    recording: str = ""
    quantized: str = ""
    symmetric: bool = False
    present: bool = True
    visible: float = 1.0
    seconds: float = 0.0
    confidence: float | None = None
    failure: str = ""
    lost: bool = False
    add: float | None = None
    add_s: float | None = None
    error: float | None = None
    best_add: float | None = None
    degrees: float | None = None
    millimetres: float | None = None
    pose: list[float] | None = None
    alternatives: list[float] | None = None
    none_probability: float | None = None
    second_pose: list[float] | None = None
    best_alternative: float | None = None
    set_size: int | None = None
    set_error: float | None = None
    precision: float | None = None
    recall: float | None = None
    coverage: float | None = None
    texture: float | None = None
    mask_iou: float | None = None
    depth_residual: float | None = None

    @property
    def likely(self) -> int:
        """How many poses are likely, the given one among them."""
        return 1 + sum(probability > LIKELY for probability in (self.alternatives or [])[1:])

    @property
    def right(self) -> bool | None:
        """Whether the pose is within 0.1 diameter; None where nobody knows the truth."""
        if not self.present or self.failure:
            return False
        return None if self.error is None else self.error < RIGHT

    @property
    def set_right(self) -> bool | None:
        """Whether the pose is within 0.1 diameter of one that looks like the truth; None where that is not known."""
        if not self.present or self.failure:
            return False
        return None if self.set_error is None else self.set_error < RIGHT

    def measure(
        self,
        pose: np.ndarray,
        truth: np.ndarray,
        points: np.ndarray,
        symmetries: np.ndarray | None = None,
        *,
        add_of_nearest: bool = False,
    ) -> None:
        """Fill in the errors of a pose.

        Args:
            pose, truth: (4, 4) object in camera, metres.
            points: (P, 3) of the object, in its own frame, metres.
            symmetries: (S, 4, 4) or None. Rotation and translation are compared with the nearest symmetric truth.
            add_of_nearest: ADD is that to the nearest symmetric truth, too, and counts. Else ADD knows no symmetry,
                and ADD-S counts for objects that are `symmetric`: ADD(-S) of Hinterstoisser et al., ACCV 2012.
        """
        nearest = nearest_symmetric_truth(pose, truth, symmetries)
        self.add = float(add(pose, nearest if add_of_nearest else truth, points)) / self.diameter
        self.add_s = float(add_s(pose, truth, points)) / self.diameter
        self.error = self.add_s if self.symmetric and not add_of_nearest else self.add
        self.degrees = float(np.degrees(rotation_error(pose, nearest)))
        self.millimetres = 1e3 * float(translation_error(pose, nearest))

    def measure_set(self, likely: np.ndarray, equivalent: np.ndarray, points: np.ndarray) -> None:
        """Compare the likely poses with those that no picture tells from the truth.

        Precision and recall of a set of poses as in BOP-Distrib (arXiv 2408.17297), here at 0.1 diameter of ADD.

        Args:
            likely: (A, 4, 4) object in camera, metres, the given one first.
            equivalent: (S, 4, 4), the truth among them.
            points: (P, 3) of the object, in its own frame, metres.
        """
        errors = np.stack([add(pose, equivalent, points) for pose in likely]) / self.diameter
        near = errors < RIGHT
        self.set_size = _count_distinct(equivalent, points, RIGHT * self.diameter)
        self.set_error = float(errors[0].min())
        self.precision = float(near.any(axis=1).mean())
        self.recall = float(near.any())
        self.coverage = float(near.any(axis=0).mean())


def _count_distinct(poses: np.ndarray, points: np.ndarray, apart: float) -> int:
    """How many poses are left if those with ADD below `apart` to one that is kept are left out."""
    kept = 0
    while len(poses):
        poses = poses[add(poses, poses[0], points) >= apart]
        kept += 1
    return kept


def column(records: Sequence[Record], name: str) -> np.ndarray:
    """(N,) one number per record: infinite where there is no pose, NaN where it is not measured."""
    values = [np.inf if record.failure else getattr(record, name) for record in records]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
