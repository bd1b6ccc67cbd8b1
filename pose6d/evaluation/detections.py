"""Where in an image an object is looked for: the data set's own visible masks, or a detector's JSON file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pose6d.errors import FrameError, SceneError
from pose6d.evaluation.datasets import PoseDataset, Target
from pose6d.json_file import read_json
from pose6d.scenes.run_length import decode_rle


@dataclass(frozen=True, eq=False)
class Detection:
    """One instance that somebody found in an image.

    Attributes:
        mask: (H, W) bool.
        score: of the detector, higher is surer.
        seconds: that the detector took for the whole image.
    """

    mask: np.ndarray
    score: float = 1.0
    seconds: float = 0.0


class MaskSource(Protocol):
    """Gives the masks to look for an object in."""

    def find(self, target: Target, size: tuple[int, int]) -> list[Detection]:
        """At most `inst_count` detections, the surest first; FrameError where there is none.

        Args:
            target: what to find.
            size: (height, width) of the image.
        """
        ...


class VisibleMasks:
    """The data set's own masks of the most visible instances (mask_visib in BOP)."""

    def __init__(self, dataset: PoseDataset) -> None:
        self._dataset = dataset

    def find(self, target: Target, size: tuple[int, int]) -> list[Detection]:
        """See `MaskSource.find`."""
        masks = [
            self._dataset.mask(target.scene_id, target.im_id, truth) for truth in self._dataset.best_visible(target)
        ]
        found = [Detection(mask) for mask in masks if mask is not None]
        if not found:
            raise FrameError("the data set has no mask of it (mask_visib): pass --detections")
        return found


class DetectionFile:
    """Detections in the format of the BOP Challenge's default ones.

    A JSON list of entries with scene_id, image_id, category_id, score, and segmentation (run-length encoded as in COCO,
    plain or compressed) or bbox [x, y, width, height], and optionally time.

    Raises:
        SceneError: the file is not of this form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        entries = read_json(path)
        if not isinstance(entries, list):
            raise SceneError(f"{path}: wanted a list of detections, found {type(entries).__name__}")
        self._entries: dict[tuple[int, int, int], list[dict[str, Any]]] = defaultdict(list)
        for number, entry in enumerate(entries):
            try:
                key = (int(entry["scene_id"]), int(entry["image_id"]), int(entry["category_id"]))
                float(entry["score"])
            except (KeyError, TypeError, ValueError) as error:
                raise SceneError(
                    f"{path}, entry {number}: wanted scene_id, image_id, category_id and score: {error!r}"
                ) from error
            if not entry.get("segmentation") and "bbox" not in entry:
                raise SceneError(f"{path}, entry {number}: neither segmentation nor bbox")
            self._entries[key].append(entry)

    def find(self, target: Target, size: tuple[int, int]) -> list[Detection]:
        """See `MaskSource.find`."""
        entries = sorted(self._entries.get(target[:3], []), key=lambda entry: -float(entry["score"]))
        if not entries:
            raise FrameError(f"{self.path} has no detection of it")
        return [
            Detection(self._mask(entry, size), float(entry["score"]), max(float(entry.get("time") or 0.0), 0.0))
            for entry in entries[: target.inst_count]
        ]

    def _mask(self, entry: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
        if entry.get("segmentation"):
            try:
                mask = decode_rle(entry["segmentation"])
            except FrameError as error:
                raise FrameError(f"{self.path}: {error}") from error
            if mask.shape != size:
                raise FrameError(f"{self.path}: a mask of {mask.shape[::-1]} for an image of {size[::-1]} pixels")
            return mask
        x, y, width, height = (float(value) for value in entry["bbox"])
        mask = np.zeros(size, dtype=bool)
        mask[max(round(y), 0) : max(round(y + height), 0), max(round(x), 0) : max(round(x + width), 0)] = True
        return mask
