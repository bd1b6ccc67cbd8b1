"""What is wrong with a recording's camera: looked for in some of its frames, with the cure of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from pose6d.errors import FrameError, SceneError
from pose6d.geometry.camera import describe_intrinsics, unusual_intrinsics
from pose6d.geometry.color_depth_offset import (
    ColorDepthOffset,
    depth_edges,
    find_far_offset,
    measure_color_depth_offset,
    remove_depth_offset,
)
from pose6d.geometry.depth import check_depth, doubt_rounded_depth
from pose6d.scenes.frame import Frame, Scene

_USUAL_VIEW = (30.0, 110.0)  # degrees across; of the colour pictures of RGB-D cameras, with room
_USUAL_DEPTH = (0.15, 6.0)  # metres, median of a picture of something that stands in reach of a depth camera
_LEAST_DEPTH = 0.4  # share of the pixels
_PANEL = 960  # columns of each half of the picture
_EDGE_COLOR = (255, 0, 255)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: one word.
        text: what was found.
        cure: what to do about it; "" where all is well.
    """

    subject: str
    text: str
    cure: str = ""


def examine_recording(scene: Scene, indices: Sequence[int]) -> tuple[list[Finding], ColorDepthOffset, Frame]:
    """Look at a recording's size, intrinsics, depth, and at whether depth lies on colour.

    Args:
        scene: the recording.
        indices: of the frames to look at.

    Returns:
        Findings, the offset of depth, and the first of the frames that can be used.

    Raises:
        SceneError: none of the frames can be used.
    """
    frames: list[Frame] = []
    findings: list[Finding] = []
    for index in tqdm(indices, desc="read", unit="frame", mininterval=0.5, leave=False):
        try:
            frame = scene[index]
            check_depth(frame.depth, source=f"frame {frame.name}")
            frames.append(frame)
        except FrameError as error:
            findings.append(Finding("frame", str(error), "leave it out by --frames, or record it again"))
    if not frames:
        raise SceneError(f"{scene.path}: none of the {len(indices)} frame(s) can be used: {findings[0].text}")
    views = [(frame.rgb, frame.depth) for frame in frames]
    offset = measure_color_depth_offset(views)
    if offset.beyond:
        offset = find_far_offset(views) or offset
    camera = [_camera(frames[0].K, scene)]
    return [*camera, *_depth(frames, scene.depth_scale_stated), _offset(offset), *findings], offset, frames[0]


def edge_picture(frame: Frame, offset: tuple[int, int]) -> np.ndarray:
    """Depth's edges over colour (h, w, 3) uint8: as recorded on the left, and without the offset on the right."""
    panels = [_draw_edges(frame.rgb, depth) for depth in (frame.depth, remove_depth_offset(frame.depth, offset))]
    return np.concatenate(panels, axis=1)


def _camera(K: np.ndarray, scene: Scene) -> Finding:
    height, width = scene.size
    across = math.degrees(2 * math.atan(0.5 * width / K[0, 0]))
    down = math.degrees(2 * math.atan(0.5 * height / K[1, 1]))
    text = f"{width}x{height} pixels, {describe_intrinsics(K)}: sees {across:.0f} by {down:.0f} degrees"
    odd = unusual_intrinsics(K, height, width)
    if not _USUAL_VIEW[0] <= across <= _USUAL_VIEW[1]:
        odd.append(f"RGB-D cameras see {_USUAL_VIEW[0]:.0f} to {_USUAL_VIEW[1]:.0f} degrees across")
    cure = f"{'; '.join(odd)}: are these the intrinsics of the colour pictures, at this size?" if odd else ""
    return Finding("camera", "; ".join([text, *scene.notes]), cure)


def _depth(frames: Sequence[Frame], stated: bool) -> list[Finding]:
    share = float(np.mean([np.mean(frame.depth > 0) for frame in frames]))
    text = f"{100 * share:.0f} % of the pixels have depth"
    cure = (
        "look at what lacks it: shiny, transparent, black, nearer or farther than the camera measures?"
        if share < _LEAST_DEPTH
        else ""
    )
    if rounded := doubt_rounded_depth(frames[0].depth):
        cure = rounded
    median = float(np.median(np.concatenate([frame.depth[frame.depth > 0] for frame in frames])))
    unit = "as stated" if stated else "1 mm is taken to be the unit, since nothing states another"
    far = f"median {median:.2f} m ({unit})"
    low, high = _USUAL_DEPTH
    usual = low <= median <= high
    doubt = "" if usual else f"unusual, wanted {low:g} to {high:g} m: is the unit right (--depth_scale)?"
    return [Finding("depth", text, cure), Finding("unit", far, doubt)]


def _offset(offset: ColorDepthOffset) -> Finding:
    if not offset.certain:
        return Finding("offset", offset.describe())
    right, down = offset.pixels
    if offset.far:
        return Finding(
            "offset",
            f"depth and colour do not lie on each other: {offset.describe()}",
            "no calibration is so far off: align depth to colour when recording (RealSense: rs.align(rs.stream.color); "
            "pose6d.geometry.depth_alignment does it for arrays), and compare the names of the frames. "
            f"run_demo.py --depth_offset={right},{down} moves it back, which fits one distance alone",
        )
    return Finding(
        "offset",
        offset.describe(),
        f"run_demo.py --depth_offset={right},{down} takes it back; in Python scene.depth_offset = ({right}, {down}). "
        "Better: record again, with depth aligned to colour by the camera's own calibration",
    )


def _draw_edges(rgb: np.ndarray, depth: np.ndarray) -> np.ndarray:
    zoom = max(1, math.ceil(_PANEL / rgb.shape[1]))
    picture = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    pixels, across = depth_edges(depth)
    middles = (pixels + 0.5 + 0.5 * across) * zoom
    along = across[:, ::-1] * (0.5 * zoom, -0.5 * zoom)
    for start, end in zip((middles - along).round().astype(int), (middles + along).round().astype(int), strict=True):
        cv2.line(picture, start.tolist(), end.tolist(), _EDGE_COLOR, 1, cv2.LINE_AA)
    return picture
