"""The record of one pose that was asked for: what of, where, and how wrong the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.pose_errors import add, add_s, nearest_symmetric_truth, rotation_error, translation_error

RIGHT = 0.1  # diameters


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

    @property
    def right(self) -> bool | None:
        """Whether the pose is within 0.1 diameter; None where nobody knows the truth."""
        if not self.present or self.failure:
            return False
        return None if self.error is None else self.error < RIGHT

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


def column(records: Sequence[Record], name: str) -> np.ndarray:
    """(N,) one number per record: infinite where there is no pose, NaN where it is not measured."""
    values = [np.inf if record.failure else getattr(record, name) for record in records]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
