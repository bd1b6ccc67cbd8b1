"""Label files for detectors: COCO, YOLO boxes and segments, singleshotpose, CSV, plain masks; and the video to look at.

Every writer takes the frames one by one (`add`) and finishes with `close`.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from mesh_creation.labels.masks import LabelledFrame, ObjectLabel
from mesh_creation.scan_folder import ScannedObject
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh
from pose6d.report.overlay import OrientedBox, draw_axes, draw_box, draw_contour, draw_text
from pose6d.report.video import VideoWriter
from pose6d.scenes.images import write_image
from pose6d.scenes.run_length import encode_rle
from pose6d.whole_file import write_whole

SPLITS = ("train", "test")
_COLORS = ((60, 220, 60), (255, 160, 30), (60, 170, 255), (255, 70, 200), (240, 230, 60), (90, 240, 220))


class LabelWriter(Protocol):
    """One label format."""

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        """Take a frame; `color_file` is the copy of its picture in labels/JPEGImages."""
        ...

    def close(self) -> None:
        """Write what needs all frames."""
        ...


class MaskWriter:
    """masks/<object>/<frame>.png of what is visible, as `open_scene(..., mask_dir=...)` reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        for label in frame.labels:
            write_image(self.folder / label.item.name / f"{frame.name}.png", label.visible)

    def close(self) -> None:
        pass


class CocoWriter:
    """coco/train.json and test.json: boxes, areas and run-length masks of what is visible."""

    def __init__(self, folder: Path, objects: Sequence[ScannedObject]) -> None:
        self.folder = folder
        self.categories = [{"id": item.number, "name": item.name, "supercategory": "object"} for item in objects]
        self.images: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self.annotations: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        height, width = frame.depth.shape
        name = f"JPEGImages/{color_file.name}"
        self.images[frame.split].append({"id": frame.number, "file_name": name, "width": width, "height": height})
        for label, box in frame.visible:
            self.annotations[frame.split].append(
                {
                    "id": sum(map(len, self.annotations.values())) + 1,
                    "image_id": frame.number,
                    "category_id": label.item.number,
                    "bbox": list(box),
                    "area": int(label.visible.sum()),
                    "segmentation": encode_rle(label.visible, compressed=True),
                    "iscrowd": 0,
                    "visibility": round(label.visibility, 4),
                }
            )

    def close(self) -> None:
        self.folder.mkdir(parents=True)
        for split in SPLITS:
            values = {"images": self.images[split], "annotations": self.annotations[split]}
            write_json(self.folder / f"{split}.json", values | {"categories": self.categories})


class YoloWriter:
    """yolo/boxes and yolo/segments, each with data.yaml, images/<split>/ and labels/<split>/<frame>.txt."""

    def __init__(self, folder: Path, objects: Sequence[ScannedObject]) -> None:
        self.folder, self.objects = folder, objects

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        height, width = frame.depth.shape
        boxes, segments = [], []
        for label, (x, y, w, h) in frame.visible:
            boxes.append(_line(label, ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)))
            outline = (join_outlines(label.visible) + 0.5) / [width, height]
            if len(outline) > 2:
                segments.append(_line(label, outline.ravel()))
        for kind, lines in (("boxes", boxes), ("segments", segments)):
            share_file(color_file, self.folder / kind / "images" / frame.split / color_file.name)
            _write_lines(self.folder / kind / "labels" / frame.split / f"{frame.name}.txt", lines)

    def close(self) -> None:
        names = [f"  {item.number - 1}: {item.name!r}" for item in self.objects]
        for kind in ("boxes", "segments"):
            lines = ["train: images/train", "val: images/test", "names:", *names]
            _write_lines(self.folder / kind / "data.yaml", lines)


class SingleShotPoseWriter:
    """singleshotpose/ (Tekin et al., CVPR 2018): JPEGImages/, mask/, labels/ of 21 numbers a line, train.txt, test.txt.

    The numbers are the class from 0, then x and y of the box's centre and eight corners as shares of the picture's
    width and height, then the width and height of the box around those corners in the picture.
    """

    def __init__(self, folder: Path, objects: Sequence[ScannedObject]) -> None:
        self.folder = folder
        self.lists: dict[str, list[str]] = {split: [] for split in SPLITS}

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        height, width = frame.depth.shape
        lines = []
        together = np.zeros((height, width), bool)
        for label, _ in frame.visible:
            together |= label.visible
            points = label.corners / [width, height]
            lines.append(_line(label, [*points.ravel(), *np.ptp(points[1:], axis=0)]))
        share_file(color_file, self.folder / "JPEGImages" / color_file.name)
        write_image(self.folder / "mask" / f"{frame.name}.png", together)
        _write_lines(self.folder / "labels" / f"{frame.name}.txt", lines)
        self.lists[frame.split].append(f"JPEGImages/{color_file.name}")

    def close(self) -> None:
        for split, files in self.lists.items():
            _write_lines(self.folder / f"{split}.txt", files)


class CsvWriter:
    """annotations.csv with semicolons: file, object, upper left and lower right corner, occluded (0 or 1).

    The lower right corner is the first pixel outside, as in the tools of that time; occluded counts from 2 % hidden.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[list[Any]] = []

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        for label, (x, y, w, h) in frame.visible:
            occluded = int(label.visible.sum() < 0.98 * label.full.sum())
            self.rows.append([f"JPEGImages/{color_file.name}", label.item.name, x, y, x + w, y + h, occluded])

    def close(self) -> None:
        header = ["Filename", "Annotation tag", "Upper left corner X", "Upper left corner Y"]
        header += ["Lower right corner X", "Lower right corner Y", "Occluded"]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=";", lineterminator="\n").writerows([header, *self.rows])


class InspectionVideo:
    """inspection.mp4: outline, box and axes of every object over the recording, to see at a glance what is wrong."""

    def __init__(self, path: Path) -> None:
        self._video = VideoWriter(path, fps=15.0)

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        self._video.write(draw_labels(frame))

    def close(self) -> None:
        self._video.close()


def draw_labels(frame: LabelledFrame) -> np.ndarray:
    """(H, W, 3) uint8 picture of a frame with its labels."""
    picture = frame.rgb.copy()
    for label in frame.labels:
        color = _COLORS[(label.item.number - 1) % len(_COLORS)]
        draw_contour(picture, label.visible, color)
        box = _aligned_box(label.item.mesh)
        draw_box(picture, label.object_in_camera, frame.K, box, color, 1)
        at_centre = label.object_in_camera @ box.box_in_object
        draw_axes(picture, at_centre, frame.K, 0.4 * label.item.mesh.diameter, 2)
    shown = ", ".join(f"{label.item.name} {100 * label.visibility:.0f} %" for label in frame.labels)
    draw_text(picture, f"frame {frame.name}, {frame.split}: {shown or 'nothing'}")
    return picture


def join_outlines(mask: np.ndarray) -> np.ndarray:
    """(P, 2) pixels: one polygon through the outer pixels of all parts of a mask (H, W), largest part first.

    Parts are joined by a line to the nearest point and back, as one object can have only one polygon in YOLO's format.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = sorted((outline[:, 0].astype(np.float64) for outline in outlines), key=len, reverse=True)
    joined = parts[0] if parts else np.zeros((0, 2))
    for part in parts[1:]:
        distance = np.linalg.norm(joined[:, None] - part[None], axis=-1)
        i, j = np.unravel_index(int(distance.argmin()), distance.shape)
        there_and_back = np.concatenate([np.roll(part, -int(j), axis=0), part[j : j + 1]])
        joined = np.concatenate([joined[: i + 1], there_and_back, joined[i:]])
    return joined


def share_file(source: Path, target: Path) -> None:
    """The same file under another name: a hard link where the file system has them, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _aligned_box(mesh: Mesh) -> OrientedBox:
    low, high = mesh.bounds.astype(np.float64)
    pose = np.eye(4)
    pose[:3, 3] = (low + high) / 2
    return OrientedBox(pose, high - low)


def _line(label: ObjectLabel, values: Iterable[float]) -> str:
    """The class from 0, and numbers."""
    return f"{label.item.number - 1} " + " ".join(f"{value:.6f}" for value in values)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines))
