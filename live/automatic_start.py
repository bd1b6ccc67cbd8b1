"""The first pose of an object of which nobody says where it is: regions of the frame are tried, and the surest kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from estimater import FoundationPose
from live.pose_batch import PoseBatch
from live.promising_regions import promising_regions
from pose6d.errors import FrameError, Pose6DError
from pose6d.scenes.frame import Frame
from pose6d.search.schedule import SCHEDULES
from pose6d.segmentation.depth_regions import depth_regions

Propose = Callable[[np.ndarray, np.ndarray, np.ndarray, float], Sequence[np.ndarray]]
"""called with rgb (H, W, 3) uint8, depth (H, W) metres, K (3, 3) and the diameter in metres; gives masks (H, W) where
the object may be, likeliest first"""

# lite weights, two real tables: one wrong place got more, 0.65; over all alternatives together several did, up to 0.85.
# What is found is judged again like every tracked pose, before it counts as `tracking`.
SURE = 0.5
"""probability of the likeliest pose below which the object is not taken for found"""
_VERY_SURE = 0.9  # from which no other region is tried
_LEAST_FIT = 0.75  # share of the visible silhouette where the depth must be that of the object, not what lies behind
_LEAST_SEEN = 0.25  # share of the silhouette that must be visible

# The cheapest search that the confidence was measured for; a doubtful result is looked at again once, in the end.
_TRIAL = replace(SCHEDULES["pruned"], name="trial", min_confidence=0.0)


@dataclass(frozen=True)
class FoundObject:
    """Where the object is.

    Attributes:
        pose: (4, 4) float32, original mesh in camera (OpenCV axes), metres.
        confidence: 0..1, that the pose is right; low where sides look alike, see the estimator's `alternatives`.
        mask: (H, W) bool, the region that it was found in.
        tried: how many regions were tried.
        regions: how many were worth a search.
    """

    pose: np.ndarray
    confidence: float
    mask: np.ndarray
    tried: int
    regions: int


@dataclass(frozen=True)
class Trial:
    """What a registration under one region gave.

    Attributes:
        pose: (4, 4) float32, original mesh in camera, metres.
        confidence: 0..1, that the pose is right.
        mask: (H, W) bool, the region.
        fit: of the silhouette that nothing hides, the share where the measured depth is that of the object.
        seen: share of the silhouette that is visible.
    """

    pose: np.ndarray
    confidence: float
    mask: np.ndarray
    fit: float
    seen: float

    @property
    def value(self) -> float:
        """The confidence, 0 where depth contradicts the pose."""
        return self.confidence if self.fit >= _LEAST_FIT and self.seen >= _LEAST_SEEN else 0.0


def find_object(
    estimator: FoundationPose,
    frame: Frame,
    propose: Propose = depth_regions,
    progress: Callable[[int, int], object] | None = None,
) -> FoundObject | None:
    """Look for the object in all of a frame.

    1. Regions where it may be are proposed; on a CPU, a look at each says which three are worth a search.
    2. The object is registered under each, by the cheapest schedule, until one result is very sure.
    3. The surest, among those that the depth does not contradict, is registered again by the estimator's own schedule,
       unless the last trial was it, and left no doubt.
    4. It is kept if it is sure. Afterwards `track_one` goes on from there.

    Args:
        estimator: of the object.
        frame: its mask is not looked at.
        propose: where the object may be; your own segmentation network, for example.
        progress: called with (regions tried, regions that are worth it).

    Returns:
        The object; None where no region is sure to hold it. The estimator is then as new.

    Raises:
        Pose6DError: the weights have no confidence, or `propose` gives something else than masks.
        SceneError, FrameError: the frame cannot be used.
    """
    if not estimator.scorer.has_confidence:
        raise Pose6DError(
            "looking for the object needs weights whose scorer has a confidence, and these have none: take the "
            "released weights, or say where the object is (--mask X,Y or a mask file)"
        )
    batch = PoseBatch([estimator])
    frame = batch.check(frame)
    regions = propose_regions(propose, frame, estimator.diameter)
    if batch.device.type == "cpu":  # where a search takes seconds
        regions = promising_regions(estimator, batch, frame, regions)
    best = trial = None
    tried = 0
    for trial in try_regions(estimator, batch, frame, regions):
        tried += 1
        if progress is not None:
            progress(tried, len(regions))
        if trial is not None and (best is None or trial.value > best.value):
            best = trial
        if best is not None and best.value >= _VERY_SURE:
            break
    if best is not None and best.value > 0:
        own = estimator.schedule
        done = replace(own, name=_TRIAL.name, min_confidence=0.0) == _TRIAL and best.confidence >= own.min_confidence
        final = best if done and best is trial else _register(estimator, batch, frame, best.mask)
        if final is not None and final.value >= SURE:
            return FoundObject(final.pose, final.confidence, final.mask, tried, len(regions))
    estimator.reset()
    return None


def try_regions(
    estimator: FoundationPose, batch: PoseBatch, frame: Frame, regions: Sequence[np.ndarray]
) -> Iterator[Trial | None]:
    """Register the object under each region by the cheapest schedule; None where there is too little depth."""
    for region in regions:
        own = estimator.schedule
        estimator.schedule = _TRIAL
        try:
            trial = _register(estimator, batch, frame, region)
        finally:
            estimator.schedule = own
        yield trial


def _register(estimator: FoundationPose, batch: PoseBatch, frame: Frame, region: np.ndarray) -> Trial | None:
    """One registration, and what the depth says of it."""
    try:
        pose = estimator.register(frame.K, frame.rgb, frame.depth, region)
    except FrameError:  # the frame has been checked: there is no usable depth under the region
        return None
    seen = batch.follow(frame, [0], pose[None], iteration=0, rounds=0, judge=False).evidence
    visible, through, inside = (float(seen[name][0]) for name in ("visible", "through", "inside"))
    fit = visible / max(visible + through, 1e-3)
    return Trial(pose, estimator.confidence or 0.0, region, fit, visible * inside)


def propose_regions(propose: Propose, frame: Frame, diameter: float) -> list[np.ndarray]:
    """The regions (H, W) bool, checked, those without a pixel left out.

    Raises:
        Pose6DError: one has another size than the frame.
    """
    regions = [np.asarray(region) for region in propose(frame.rgb, frame.depth, frame.K, diameter)]
    for region in regions:
        if region.shape != frame.depth.shape:
            name = getattr(propose, "__name__", type(propose).__name__)
            raise Pose6DError(
                f"{name} proposed a mask of shape {region.shape}: masks of the frame's size {frame.depth.shape} are "
                "needed, true or non-zero on the object"
            )
    return [region != 0 for region in regions if region.any()]
