"""Pictures of the poses in real frames, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.real_fit import renderer_of
from benchmarks.accuracy.scenes import EvaluationScene
from pose6d.evaluation.record import Record
from pose6d.geometry.camera import crop_images
from pose6d.report.contact_sheet import contact_sheet, object_windows
from pose6d.report.overlay import MAGENTA, draw_axes, draw_contour, draw_text
from pose6d.scenes.images import write_image

_SIZE = 256  # pixels of each picture
_RATIO = 1.5  # of the window to the object's diameter
_COLUMNS = 3
_MOST = 24  # frames of a sheet


def write_overlays(
    stem: Path, records: Sequence[Record], scenes: Sequence[tuple[TargetObject, EvaluationScene, str]]
) -> list[Path]:
    """Write contact sheets of each recording: the frame, the object drawn in its pose, and the outline with axes.

    The second pose, where there is one, is a thin magenta outline.

    Args:
        stem: sheets are named `<stem>.<recording>.png`, or with a number after that where there are several.
        records: of the suite of real frames, in the order of the scenes.
        scenes: of that suite.

    Returns:
        The files.

    Raises:
        OutputError: a file cannot be written.
    """
    rows: dict[str, list[np.ndarray]] = {}
    for record, (target, scene, name) in zip(records, scenes, strict=True):
        rows.setdefault(name.split("/")[0], []).append(_row(record, target, scene))
    files = []
    for recording, pictures in rows.items():
        for start in range(0, len(pictures), _MOST):
            number = f".{1 + start // _MOST}" if len(pictures) > _MOST else ""
            files.append(stem.with_name(f"{stem.name}.{recording}{number}.png"))
            write_image(files[-1], contact_sheet(pictures[start : start + _MOST], _COLUMNS))
    return files


def _row(record: Record, target: TargetObject, scene: EvaluationScene) -> np.ndarray:
    """(256, 768, 3) uint8: a crop of the frame, what the pose looks like, and the pose on the crop."""
    view = scene.views[0]
    place = np.eye(4) if record.pose is None else np.reshape(record.pose, (4, 4))
    if record.pose is None:  # refused: around the middle of the mask
        rows, columns = np.nonzero(scene.mask)
        distance = max(float(np.median(view.depth[scene.mask])), 0.1)
        place[:3, 3] = distance * np.linalg.inv(view.K) @ [columns.mean(), rows.mean(), 1.0] - target.mesh.center
    poses, K = torch.tensor(place, dtype=torch.float32)[None], torch.tensor(np.asarray(view.K), dtype=torch.float32)
    window = object_windows(poses, K, target.mesh, _RATIO, _SIZE)
    image = torch.from_numpy(view.rgb).permute(2, 0, 1).float()
    seen = crop_images(image, window, _SIZE)[0].permute(1, 2, 0).round().to(torch.uint8).numpy().copy()
    drawn, overlay = np.zeros_like(seen), seen.copy()
    if record.pose is not None:
        pictures = renderer_of(target)
        crop_K = (window @ K)[0]
        rendering = pictures.render(poses, crop_K, (_SIZE, _SIZE))
        drawn = (255 * rendering.color[0].clamp(0, 1)).round().to(torch.uint8).numpy().copy()
        if record.second_pose is not None:
            second = torch.tensor(record.second_pose, dtype=torch.float32).reshape(1, 4, 4)
            mask = pictures.render(second, crop_K, (_SIZE, _SIZE)).mask[0].numpy()
            draw_contour(overlay, mask, MAGENTA, thickness=1)
        draw_contour(overlay, rendering.mask[0].numpy(), thickness=1)
        axes = place.copy()
        axes[:3, 3] += place[:3, :3] @ target.mesh.center
        draw_axes(overlay, axes, crop_K.numpy().astype(np.float64), 0.4 * record.diameter, thickness=2)
    draw_text(seen, f"{record.object} {record.recording.partition('/')[2]}")
    draw_text(drawn, _verdict(record))
    draw_text(overlay, "refused" if record.failure else _fit(record))
    return np.concatenate([seen, drawn, overlay], axis=1)


def _verdict(record: Record) -> str:
    sure = "" if record.confidence is None else f"confidence {record.confidence:.2f}"
    if record.alternatives is not None and len(record.alternatives) > 1:
        sure += f", second {record.alternatives[1]:.2f}"
    return sure


def _fit(record: Record) -> str:
    found = [] if record.error is None else [f"{record.error:.3f} d off"]
    found += [] if record.mask_iou is None else [f"IoU {record.mask_iou:.2f}"]
    found += [] if record.depth_residual is None else [f"{1e3 * record.depth_residual * record.diameter:.1f} mm"]
    return ", ".join(found)
