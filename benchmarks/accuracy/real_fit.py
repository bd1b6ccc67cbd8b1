"""How well a pose fits a real frame whose true pose nobody knows."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scenes import View
from pose6d.evaluation.record import RIGHT, Record
from pose6d.evaluation.visible_surface import DELTA, render_depth
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Renderer


def measure_fit(record: Record, target: TargetObject, pose: np.ndarray, view: View, mask: np.ndarray) -> None:
    """Fill in the overlap of the drawn object with the mask, and its distance from the depth under the mask.

    What the depth shows in front of the object hides it. A pixel is at most 0.1 diameter off: masks spill over. Both
    are good for every side that a symmetric shape can show, so that they prove a pose wrong, not right.

    Args:
        record: gets `mask_iou` and `depth_residual`, None where nothing can be compared.
        target: the object.
        pose: (4, 4) object in camera, metres.
        view: the frame.
        mask: (H, W) bool, where the object is seen.
    """
    drawn = render_depth(renderer_of(target), pose[None], view.K, mask.shape)[0]
    in_front = (view.depth > 0) & (view.depth < drawn - DELTA) & ~mask
    shown = (drawn > 0) & ~in_front
    either = int((shown | mask).sum())
    record.mask_iou = float((shown & mask).sum() / either) if either else None
    compared = (drawn > 0) & mask & (view.depth > 0)
    apart = np.abs(drawn - view.depth)[compared] / record.diameter
    record.depth_residual = float(np.minimum(apart, RIGHT).mean()) if len(apart) else None


@cache
def renderer_of(target: TargetObject) -> Renderer:
    """What draws the object in its own frame, on the CPU."""
    return make_renderer(target.mesh, "cpu")
