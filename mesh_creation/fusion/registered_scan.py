"""A scan with its camera poses, read frame by frame for fusing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesh_creation.board.layout import Board, load_board
from mesh_creation.registration.depth_cleaning import backproject_pixels, clean_depth
from mesh_creation.registration.object_region import ObjectRegion, find_object, points_above_board
from mesh_creation.registration.work_area import WorkArea
from mesh_creation.scan_folder import read_registration
from pose6d.errors import FrameError, SceneError
from pose6d.json_file import read_json
from pose6d.scenes import Scene, open_scene

_SEARCH_CLEARANCE = 0.004  # metres above the paper from which on the object is looked for
_CLEARANCE = (0.0015, 0.004)


@dataclass
class DepthView:
    """One cleaned depth frame in the board's frame.

    Attributes:
        depth, cosine: (H, W), see `clean_depth`; on support pixels the depth is as measured.
        support: (H, W) bool, pixels that show board or table.
        K: (3, 3) intrinsics.
        camera_in_board: (4, 4).
    """

    depth: np.ndarray
    cosine: np.ndarray
    support: np.ndarray
    K: np.ndarray
    camera_in_board: np.ndarray


class RegisteredScan:
    """A registered recording.

    Args:
        folder: of the scan.

    Raises:
        SceneError: it is not registered, or no frame of it has a pose.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = open_scene(folder).names
        self.poses = read_registration(folder, names)
        values = read_json(folder / "registration.json")
        scale = values.get("depth_scale", {}).get("agreeing")
        self.scene: Scene = open_scene(folder, depth_scale=scale)
        self.board: Board = load_board(folder / "board.json")
        self.frames = [i for i, pose in enumerate(self.poses) if pose is not None]
        if not self.frames:
            raise SceneError(f"{folder}: no frame of the scan is registered")
        known = {name: index for index, name in enumerate(names)}
        self.keyframes = [known[n] for n in values.get("keyframes", []) if self.poses[known[n]] is not None]
        if not self.keyframes:
            self.keyframes = self.frames[:: max(1, len(self.frames) // 40)]
        self.clearance = _CLEARANCE[0]

    def pose(self, index: int) -> np.ndarray:
        """Camera in board (4, 4) of a registered frame."""
        pose = self.poses[index]
        assert pose is not None
        return pose

    def find_object(self) -> ObjectRegion:
        """Find the object, and set `clearance` by how noisy the board's surface is.

        Raises:
            SceneError: nothing stands on the board.
        """
        area, clouds, heights = WorkArea.over(self.board, _SEARCH_CLEARANCE), [], []
        for index in self.keyframes:
            frame = self.scene[index]
            depth = clean_depth(frame.depth, frame.K)[0]
            clouds.append(points_above_board(depth, frame.K, self.pose(index), area))
            below = points_above_board(depth, frame.K, self.pose(index), WorkArea.over(self.board, -0.008), stride=8)
            heights.append(below[below[:, 2] < 0.008, 2])
        paper = np.concatenate(heights)
        if len(paper) > 100:
            # The half below the paper is noise alone; what is above may be the object.
            noise = 1.48 * float(np.median(np.abs(paper[paper < 0]))) if (paper < 0).any() else 0.0
            self.clearance = float(np.clip(2.5 * noise, *_CLEARANCE))
        return find_object(clouds, area, str(self.folder))

    def view(self, index: int) -> DepthView | None:
        """A registered frame for fusing; None where its files cannot be read any more."""
        try:
            frame = self.scene[index]
        except FrameError:
            return None
        depth, cosine = clean_depth(frame.depth, frame.K)
        pose = self.pose(index)
        points = backproject_pixels(frame.depth, frame.K)
        points = points @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
        support = (frame.depth > 0) & ~WorkArea.over(self.board, self.clearance).contains(points)
        # Emptiness before the board is proved by rims and grazing views too.
        return DepthView(
            depth=np.where(support, frame.depth, depth),
            cosine=np.where(support, np.maximum(cosine, 0.3), cosine),
            support=support,
            K=frame.K,
            camera_in_board=pose,
        )
