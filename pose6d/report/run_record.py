"""What one run over a recording has produced: poses, failures and times, and the report of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pose6d.errors import shorten
from pose6d.evaluation.record import LIKELY
from pose6d.mesh.mesh import Mesh
from pose6d.report.comparison import pose_error_table, summarise_errors
from pose6d.report.run_folder import RunFolder

DOUBTFUL = 0.5  # a pose of less confidence is more likely wrong than right


@dataclass
class RunRecord:
    """A run's results so far.

    Attributes:
        poses: (4, 4) object in camera by frame name.
        truths: (4, 4) ground truth by frame name, where there is one.
        confidence: probability that the pose is within 0.1 diameter, by frame name, where the estimator gave one.
        alternatives: of frames in which the object was searched for, by name: the distinct poses (4, 4) that may be
            right, each with its probability, the given one first; what is missing to 1 is that of none of them.
        failures: message by name of each frame that could not be used.
        seconds: by stage.
        details: seconds of the steps inside a stage, by stage.
        interrupted: the user stopped the run.
    """

    poses: dict[str, np.ndarray] = field(default_factory=dict)
    truths: dict[str, np.ndarray] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)
    alternatives: dict[str, Sequence[tuple[np.ndarray, float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, dict[str, float]] = field(default_factory=dict)
    interrupted: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[name]`, also where it ends in an error."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def add_details(self, stage: str, seconds: Mapping[str, float]) -> None:
        """Add the estimator's own times of its steps to `details[stage]`."""
        steps = self.details.setdefault(stage, {})
        for step, value in seconds.items():
            steps[step] = steps.get(step, 0.0) + value

    def likely_others(self, name: str) -> list[np.ndarray]:
        """Poses (4, 4) besides a frame's own that are likely enough to be shown."""
        return [pose for pose, probability in list(self.alternatives.get(name, ()))[1:] if probability > LIKELY]

    @property
    def tracked(self) -> int:
        """How many frames were tracked: all that have a pose but the first."""
        return max(len(self.poses) - 1, 0)

    def write_report(self, folder: RunFolder, mesh: Mesh, symmetries: np.ndarray | None, **facts: Any) -> list[str]:
        """Write timings.json, alternatives.csv where there are any, and errors.csv where there is ground truth.

        Args:
            folder: where to.
            mesh: the object, metres.
            symmetries: (S, 4, 4) or None.
            facts: to be written into timings.json as well, such as the device.

        Returns:
            Lines for people.
        """
        if self.alternatives:
            folder.write_table("alternatives.csv", self._alternative_rows())
        track_seconds = self.seconds.get("track", 0.0)
        rates = {
            "track": self.tracked / track_seconds if track_seconds else 0.0,
            "overall": len(self.poses) / max(sum(self.seconds.values()), 1e-9),
        }
        folder.write_json(
            "timings.json",
            {
                **facts,
                "frames": len(self.poses),
                "failed_frames": self.failures,
                "interrupted": self.interrupted,
                "confidence": _round_values(self.confidence),
                "likely_lost": self.likely_lost,
                "frames_per_second": _round_values(rates),
                "seconds": {key: round(value, 4) for key, value in self.seconds.items()},
                "seconds_inside": {
                    stage: {key: round(value, 4) for key, value in steps.items()}
                    for stage, steps in self.details.items()
                },
            },
        )
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        lines = [f"frames with a pose: {len(self.poses)}, failed: {len(self.failures)}", f"seconds: {stages}"]
        if self.tracked:
            each = 1000 * track_seconds / self.tracked
            lines.append(
                f"frames per second: {rates['track']:.2f} tracking ({each:.1f} ms), {rates['overall']:.2f} overall"
            )
        if self.poses:
            lines.append(self._confidence_line())
            lines += self._alternatives_note()
        rows = pose_error_table(self.poses, self.truths, mesh, symmetries)
        if rows:
            folder.write_table("errors.csv", rows)
            symmetric = symmetries is not None and len(symmetries) > 1
            lines.append(f"against ground truth, object diameter d = {1000 * mesh.diameter:.1f} mm:")
            lines += [f"  {line}" for line in summarise_errors(rows, symmetric)]
        return lines

    @property
    def likely_lost(self) -> list[str]:
        """Tracked frames whose pose is doubtful: the object was likely lost there.

        That is where confidence is below `DOUBTFUL` and below half of what it was in the first frame. Of some real
        objects right poses have a low confidence too, and the first frame tells how low.
        """
        if not self.confidence:
            return []
        (_, first), *others = self.confidence.items()
        return [name for name, value in others if value < min(DOUBTFUL, first / 2)]

    def lost_note(self) -> list[str]:
        """A line for people that names the frames in which the object was likely lost, and what to do; or none."""
        lost = self.likely_lost
        if not lost:
            return []
        ranges = shorten(_ranges(lost, list(self.confidence)))
        return [
            f"likely lost (low confidence) in {len(lost)} of {self.tracked} tracked frame(s): {ranges}. Look at them "
            "in the video. If the object is lost there, start again at a frame that shows it and has a mask: "
            "--frames N: (and --mask_file)"
        ]

    def _alternatives_note(self) -> list[str]:
        """A line for people where another pose than the given one is likely, too."""
        notes = []
        for name, found in self.alternatives.items():
            if others := len(self.likely_others(name)):
                shares = ", ".join(f"{probability:.2f}" for _, probability in list(found)[: others + 1])
                notes.append(f"frame {name}: {others + 1} poses are likely ({shares}), see alternatives.csv")
        return notes

    def _alternative_rows(self) -> list[dict[str, Any]]:
        """A row for each alternative: the upper three rows of its matrix; the last one of a frame is none of them."""
        entries = [name for i, axis in enumerate("xyz", 1) for name in (f"r{i}1", f"r{i}2", f"r{i}3", f"t{axis}")]
        rows: list[dict[str, Any]] = []
        for name, found in self.alternatives.items():
            for rank, (pose, probability) in enumerate(found, start=1):
                values = [round(float(value), 6) for value in np.asarray(pose)[:3].ravel()]
                row = {"frame": name, "rank": rank, "probability": round(probability, 4)}
                rows.append(row | dict(zip(entries, values, strict=True)))
            none = max(0.0, 1.0 - sum(probability for _, probability in found))
            rows.append({"frame": name, "rank": "none", "probability": round(none, 4), **dict.fromkeys(entries, "")})
        return rows

    def _confidence_line(self) -> str:
        """How sure the estimator is of its poses, and of which it cannot say."""
        if not self.confidence:
            return "no pose is judged, for these weights have no confidence: look at the video"
        first, *others = self.confidence.items()
        line = f"confidence: {first[1]:.2f} in frame {first[0]}"
        if others:
            name, value = min(others, key=lambda item: item[1])
            line += f", {sum(value for _, value in others) / len(others):.2f} on average while tracking"
            line += f", lowest {value:.2f} in frame {name}"
        elif self.tracked:
            line += "; the tracked poses were not judged"
        doubtful = sum(value < DOUBTFUL for value in self.confidence.values())
        if doubtful:
            line += f". {doubtful} pose(s) are doubtful: look at the overlay, the mask and the mesh's scale"
        return line


def _ranges(names: list[str], order: list[str]) -> list[str]:
    """Names that follow one another in `order` as "first-last"."""
    place = {name: index for index, name in enumerate(order)}
    groups: list[list[str]] = []
    for name in names:
        if groups and place[name] == place[groups[-1][-1]] + 1:
            groups[-1].append(name)
        else:
            groups.append([name])
    return [group[0] if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups]


def _round_values(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}
