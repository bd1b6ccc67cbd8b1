"""Writes the result of each frame as soon as it is known, so that an interrupted run loses nothing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pose6d.evaluation.pose_errors import nearest_symmetric_truth
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer
from pose6d.report.contact_sheet import hypothesis_sheet
from pose6d.report.debug_pictures import write_frame_pictures, write_result_clouds
from pose6d.report.key_frames import KeyFrames
from pose6d.report.overlay import PoseOverlay
from pose6d.report.refinement_trace import RefinementTrace, refinement_sheet
from pose6d.report.run_folder import RunFolder
from pose6d.report.run_record import RunRecord
from pose6d.report.video import VideoWriter
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import write_image


class ResultWriter:
    """Fills a run folder, as a context manager.

    ob_in_cam/<frame>.txt always; track.mp4 from level 1; track_vis/<frame>.png and the pictures of the registration
    from level 2; the mesh in its first pose at level 3.

    Args:
        folder: where to.
        record: takes the poses, ground truths and the time spent.
        mesh: the object, metres.
        renderer: built for that mesh.
        level: how much to write, 0 to 3.
        compare: draw the ground truth beside the prediction, where there is one.
        symmetries: (S, 4, 4) or None; of the poses that look like the ground truth the closest is drawn.

    Attributes:
        first: the first frame that was written, None before.
        key_frames: small pictures spread over the recording, from level 1.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        mesh: Mesh,
        renderer: Renderer,
        level: int,
        *,
        compare: bool = False,
        symmetries: np.ndarray | None = None,
    ) -> None:
        self.folder, self.record, self.mesh, self.renderer, self.level = folder, record, mesh, renderer, level
        self.compare, self.symmetries = compare, symmetries
        self.first: Frame | None = None
        self.key_frames = KeyFrames()
        self._overlay = PoseOverlay(mesh, renderer)
        self._video = VideoWriter(folder.path / "track.mp4")

    @property
    def video(self) -> Path | None:
        """The finished video, None where none was written."""
        return self._video.path if self.level >= 1 and self._video.path.is_file() else None

    @property
    def video_fps(self) -> float:
        """How many frames of the video make a second."""
        return self._video.fps

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._video.close()

    def write(self, frame: Frame, object_in_camera: np.ndarray) -> None:
        """Keep and write one frame's pose (4, 4)."""
        self.first = self.first or frame
        self.record.poses[frame.name] = object_in_camera
        if frame.object_in_camera is not None:
            self.record.truths[frame.name] = frame.object_in_camera
        with self.record.stage("draw and write"):
            self.folder.write_pose(frame.name, object_in_camera)
            if self.level >= 1:
                picture = self._draw(frame, object_in_camera)
                self._video.write(picture)
                self.key_frames.add(frame.name, picture)
            if self.level >= 2:
                write_image(self.folder.path / "track_vis" / f"{frame.name}.png", picture)

    def _draw(self, frame: Frame, object_in_camera: np.ndarray) -> np.ndarray:
        others = self.record.likely_others(frame.name)
        if not self.compare or frame.object_in_camera is None:
            text = f"{frame.name}   thin: {len(others)} other likely pose(s)" if others else frame.name
            return self._overlay.draw(frame.rgb, object_in_camera, frame.K, text, others=others)
        truth = nearest_symmetric_truth(object_in_camera, frame.object_in_camera, self.symmetries)
        text = f"{frame.name}   green: prediction, magenta: ground truth"
        return self._overlay.draw(frame.rgb, object_in_camera, frame.K, text, truth, others)

    def write_registration(self, frame: Frame, estimator: Any, trace: RefinementTrace) -> None:
        """Write pictures of the registration of a frame.

        Args:
            frame: the frame that was registered.
            estimator: its `poses` (N, 4, 4) and `scores` (N,) are shown.
            trace: watched the registration.
        """
        with self.record.stage("draw and write"):
            folder, mesh = self.folder.path, self.mesh
            write_frame_pictures(folder, frame)
            write_result_clouds(folder, frame, mesh, estimator.poses[0], posed_mesh=self.level >= 3)
            view = (self.renderer, frame.rgb, frame.K)
            scores = hypothesis_sheet(*view, estimator.poses, estimator.scores, mesh)
            write_image(folder / "vis_score.png", scores)
            steps = refinement_sheet(*view, trace.best(6), trace.names, mesh)
            write_image(folder / "vis_refiner.png", steps)
