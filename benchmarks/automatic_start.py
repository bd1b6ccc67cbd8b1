"""Whether an object is found in a frame of which nobody says where it is: what `--mask auto` does.

`python -m benchmarks.automatic_start --weights lite --mesh-folder MESHES --scenes 100 --output automatic_start.json`

looks for the object in each scene of `cluttered`, with other objects beside, behind and in front of it on a table, and
prints how often it is found and how often something else is taken for it, at which confidence. In the scenes of
`absent` there is nothing to be found. What is taken for an object may be another one of the same kind: one in ten
scenes has one among the others, of another size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene
from benchmarks.accuracy.scoreboard import SceneChoice, Scoreboard
from benchmarks.live_tracking.scores import PoseScorer
from benchmarks.versions import versions
from estimater import FoundationPose
from live.automatic_start import find_object
from many_objects import EstimatorFactory
from pose6d.command import run_command_line
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.record import RIGHT
from pose6d.geometry.masks import mask_iou
from pose6d.json_file import write_json
from pose6d.scenes.frame import Frame
from pose6d.segmentation.depth_regions import depth_regions

VERY_SURE = 0.9
"""confidence above which nothing wrong may be found"""
_ON_OBJECT = 0.25  # diameters from the true middle within which a pose is on the right object
_SAME_REGION = 0.5  # intersection over union of a region and the visible part of the object
HEADER = [
    "suite",
    "frames",
    "its region proposed, %",
    "right object found, %",
    "its pose right, %",
    f"wrong one found; above {VERY_SURE:g}",
    "surest wrong one",
    "regions tried, mean",
    "seconds: median, most",
]


@dataclass
class Options(SceneChoice):
    """What is looked for, and by what."""

    suites: tuple[str, ...] = ("cluttered",)
    """of benchmarks.accuracy; in `absent` the object is in no frame"""
    weights: str = "auto"
    """a released set's name, or a folder"""
    device: str = "auto"
    schedule: str = "auto"
    """of the registration that confirms what was found"""
    output: Path | None = None
    """JSON of all frames"""


@dataclass(frozen=True)
class StartScore:
    """What looking for the object gave in one frame.

    Attributes:
        suite, object, index: of the scene.
        visible: share of the object's silhouette that can be seen; 0 where it is absent.
        regions, tried: how many were proposed, and registered.
        proposed: one of the regions is that of the object.
        confidence: of what was found; None where nothing was.
        offset: diameters from the true middle of the object to that of the pose; None without either.
        error: ADD(-S) in diameters to the nearest pose that looks like the truth; None without either.
        seconds: that it took.
    """

    suite: str
    object: str
    index: int
    visible: float
    regions: int
    tried: int
    proposed: bool
    confidence: float | None
    offset: float | None
    error: float | None
    seconds: float

    @property
    def on_object(self) -> bool:
        """Whether the right object was found."""
        return self.offset is not None and self.offset < _ON_OBJECT

    @property
    def right(self) -> bool:
        """Whether its pose is right, too."""
        return self.error is not None and self.error < RIGHT

    @property
    def wrong(self) -> bool:
        """Whether something else was found."""
        return self.confidence is not None and not self.on_object


def look(suite: str, index: int, target: TargetObject, scene: EvaluationScene, estimator: FoundationPose) -> StartScore:
    """Look for the object in one scene."""
    view = scene.views[0]
    K = np.asarray(view.K, np.float64)
    frame = Frame(str(index), view.rgb, view.depth, K, scene.mask, view.truth)  # the mask is not looked at
    regions: list[np.ndarray] = []
    tried = []

    def propose(*seen: Any) -> Sequence[np.ndarray]:
        regions[:] = depth_regions(*seen)
        return regions

    begun = time.perf_counter()
    found = find_object(estimator, frame, propose, lambda done, _: tried.append(done))
    seconds = time.perf_counter() - begun
    offset = error = None
    if found is not None and view.truth is not None:
        offset = _offset(target, found.pose, view.truth)
        error = PoseScorer(target.mesh, estimator.device, target.symmetric).error(found.pose, frame)
    return StartScore(
        suite=suite,
        object=target.mesh.name,
        index=index,
        visible=scene.visible,
        regions=len(regions),
        tried=len(tried),
        proposed=view.truth is not None and any(mask_iou(region, scene.mask) > _SAME_REGION for region in regions),
        confidence=None if found is None else found.confidence,
        offset=offset,
        error=error,
        seconds=seconds,
    )


def summary(suite: str, scores: Sequence[StartScore]) -> list[str]:
    """One row of the table."""
    wrong = [score.confidence for score in scores if score.wrong and score.confidence is not None]
    tried = [score.tried for score in scores]
    seconds = [score.seconds for score in scores]

    def share(those: Sequence[bool]) -> str:
        return f"{100 * np.mean(those):.0f}" if any(score.visible for score in scores) else ""

    return [
        suite,
        str(len(scores)),
        share([score.proposed for score in scores]),
        share([score.on_object for score in scores]),
        share([score.right for score in scores]),
        f"{len(wrong)}; {sum(value > VERY_SURE for value in wrong)}",
        f"{max(wrong):.2f}" if wrong else "",
        f"{np.mean(tried):.1f}",
        f"{np.median(seconds):.2f}, {max(seconds):.2f}",
    ]


def main(options: Options) -> None:
    """Look in all scenes, print the table, and write the frames."""
    options.check("register", "absent")
    make = EstimatorFactory(options.weights, options.device, options.schedule)
    scores: dict[str, list[StartScore]] = {}
    with SceneWorkers(options.workers) as workers:
        board = Scoreboard(options, workers)
        board.begin()
        for suite in board.suites:
            scenes = zip(board.indices(suite), board.scenes(suite), strict=True)
            bar = tqdm(scenes, total=board.count(suite), desc=suite.name, unit="scene")
            scores[suite.name] = [
                look(suite.name, index, target, scene, make(target.for_estimator)) for index, (target, scene, _) in bar
            ]
    facts = versions(make.device)
    print("\n".join(markdown_table([HEADER, *(summary(name, own) for name, own in scores.items())])))
    for score in (score for own in scores.values() for score in own if score.wrong):
        print(f"wrong: {score.suite} {score.index}, {score.object}: confidence {score.confidence:.2f}")
    print(", ".join(facts.values()))
    if options.output is not None:
        content = {**facts, "options": asdict(options), "frames": [asdict(s) for own in scores.values() for s in own]}
        write_json(options.output, content)


def _offset(target: TargetObject, pose: np.ndarray, truth: np.ndarray) -> float:
    center = target.mesh.center
    away = (pose[:3, :3] - truth[:3, :3]) @ center + pose[:3, 3] - truth[:3, 3]
    return float(np.linalg.norm(away)) / float(target.mesh.diameter)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
