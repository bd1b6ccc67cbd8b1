"""Follow unknown objects through simulated videos without markers, and make surfaces from the key views.

`python -m benchmarks.model_free.markerless --output scores.json`

prints a row for each video: how the object was followed as the frames came (`step`), how the camera had drifted at the
end and how far off it was on average, once the key views were adjusted together (`after`), the masks, and the surface
that fuses from the key views, against the true mesh.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from benchmarks.model_free.videos import Video, film_around, film_held
from learning.datasets.objects.random_objects import make_kind
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.markerless.from_video import adjust_all, reference_views
from mesh_creation.markerless.tracker import MarkerlessTracker
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.registration.depth_cleaning import backproject_pixels, clean_depth
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.evaluation.auc import auc
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.pose_errors import add, add_s
from pose6d.geometry.masks import mask_iou
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh

Kind = Literal["around", "held"]
_KINDS = ("carton", "spray", "vehicle", "drill", "camera", "pot", "tin", "animal")
_DIAMETER = 0.14  # metres, of procedural objects
_VOXEL = 0.0015  # metres


@dataclass(frozen=True)
class Options:
    """What is followed."""

    output: Path | None = None
    """a JSON file for the scores"""
    videos: tuple[Kind, ...] = ("around", "held")
    """the camera is carried around the object, or a hand moves the object before it"""
    meshes: tuple[Path, ...] = ()
    """of objects, in metres; procedural ones if omitted"""
    kinds: tuple[str, ...] = _KINDS
    """of procedural objects"""
    seed: int = 0


@dataclass(frozen=True)
class VideoScore:
    """Angles in degrees, lengths in millimetres, shares in %.

    Attributes:
        video: its name.
        lost: frames without a pose.
        add_s, add: AUC up to 0.1 m of the poses as the frames came, after the true pose of the first.
        drift: of the last frame that was found, after adjustment: angle and length.
        mean: of all frames, after adjustment: angle and length.
        iou: mean overlap of the masks with the true ones.
        surface: mean distance from the surface that the key views give to the true one.
        seen: share of the true surface within 3 mm of it.
        views: key views.
        milliseconds: for a frame.
        adjusting: seconds for adjusting all key views at the end.
    """

    video: str
    lost: int
    add_s: float
    add: float
    drift: tuple[float, float]
    mean: tuple[float, float]
    iou: float
    surface: float
    seen: float
    views: int
    milliseconds: float
    adjusting: float


def main(options: Options) -> None:
    """Film, follow, score, print."""
    meshes = [load_mesh(file).centered() for file in options.meshes] or procedural_objects(options.kinds, options.seed)
    scores = []
    for number, mesh in enumerate(meshes):
        for kind in options.videos:
            film = {"around": film_around, "held": film_held}[kind]
            scores.append(score_video(film(mesh, options.seed + number)))
            print(_table(scores[-1:])[2], flush=True)
            if options.output is not None:
                write_json(options.output, {"scores": [asdict(score) for score in scores]})
    print(*_table(scores), sep="\n")


def procedural_objects(kinds: Sequence[str], seed: int) -> list[Mesh]:
    """One object of each kind."""
    try:
        return [make_kind(kind, np.random.default_rng([seed, i]), _DIAMETER, kind) for i, kind in enumerate(kinds)]
    except KeyError as error:
        raise OptionError(f"there is no kind {error} of procedural objects") from error


def score_video(video: Video) -> VideoScore:
    """Follow the object of a video, and compare with the truth."""
    truth = [frame.object_in_camera for frame in video.frames]
    start = time.perf_counter()
    tracker = MarkerlessTracker(video.frames[0])
    for frame in video.frames[1:]:
        tracker.step(frame)
    followed = time.perf_counter()
    online = [frame.camera_in_object for frame in tracker.frames]
    ious = [mask_iou(t.mask, f.mask) for t, f in zip(tracker.frames, video.frames, strict=True) if t.mask is not None]
    adjust_all(tracker)
    adjusted = time.perf_counter()
    # The frame of the tracker is another than the mesh's; the first pose is given to both.
    mesh_in_object = online[0] @ truth[0]
    points = video.mesh.sample_surface(1000)
    found = [i for i, camera in enumerate(online) if camera is not None]
    estimates = [np.linalg.inv(online[i]) @ mesh_in_object for i in found]
    after = tracker.trajectory()
    errors = [pose_difference(np.linalg.inv(after[i]) @ mesh_in_object, truth[i]) for i in found]
    missing = [np.inf] * (len(online) - len(found))
    surface, seen = surface_error(reference_views(tracker), video.mesh, np.linalg.inv(mesh_in_object))
    return VideoScore(
        video.name,
        len(missing),
        *(
            100 * auc(np.array([error(e, truth[i], points) for e, i in zip(estimates, found, strict=True)] + missing))
            for error in (add_s, add)
        ),
        errors[-1],
        tuple(np.mean(errors, axis=0)),
        100 * float(np.mean(ious)),
        surface,
        seen,
        len(tracker.views),
        1000 * (followed - start) / len(video.frames),
        adjusted - followed,
    )


def pose_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Degrees and millimetres between the poses (4, 4) of one thing in one camera."""
    turn = np.linalg.norm(cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0])
    return float(np.degrees(turn)), 1000 * float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


def surface_error(views: Sequence[ReferenceView], mesh: Mesh, object_in_mesh: np.ndarray) -> tuple[float, float]:
    """Millimetres from the surface fused of views to a mesh, on average; and the share of the mesh, in %, within 3 mm.

    Args:
        views: of the object.
        mesh: the true one, metres.
        object_in_mesh: (4, 4) the frame of the views' poses in that of the mesh.
    """
    from mesh_creation.fusion.closed_surface import close_surface

    low, high = mesh.bounds
    volume = TsdfVolume.around(low - 0.02, high + 0.02, _VOXEL)
    points = []
    for view in views:
        depth, cosine = clean_depth(view.depth, view.K)
        depth = np.where(view.mask, depth, 0)
        camera = object_in_mesh @ view.camera_in_object
        volume.integrate(depth, cosine, np.zeros_like(view.mask), view.K, camera, 0.0)
        points.append(backproject_pixels(depth, view.K)[depth > 0][::7] @ camera[:3, :3].T + camera[:3, 3])
    surface = close_surface(volume, np.concatenate(points), None)
    made = Mesh(surface.vertices, surface.faces[~surface.filled])
    sample = made.sample_surface(20_000)
    back = _distances(made, mesh.sample_surface(20_000))
    return 1000 * float(_distances(mesh, sample).mean()), 100 * float((back < 0.003).mean())


def _distances(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor(np.ascontiguousarray(mesh.vertices, np.float32)),
        o3d.core.Tensor(np.ascontiguousarray(mesh.faces, np.uint32)),
    )
    return scene.compute_distance(o3d.core.Tensor(np.ascontiguousarray(points, np.float32))).numpy()


def _table(scores: Sequence[VideoScore]) -> list[str]:
    header = ["video", "lost", "AUC ADD-S", "AUC ADD", "drift", "mean error", "mask IoU", "surface", "seen", "views"]
    header += ["a frame", "adjusting"]
    rows = [
        [
            s.video,
            str(s.lost),
            f"{s.add_s:.1f}",
            f"{s.add:.1f}",
            f"{s.drift[0]:.2f} deg, {s.drift[1]:.1f} mm",
            f"{s.mean[0]:.2f} deg, {s.mean[1]:.1f} mm",
            f"{s.iou:.1f}",
            f"{s.surface:.2f} mm",
            f"{s.seen:.0f} %",
            str(s.views),
            f"{s.milliseconds:.0f} ms",
            f"{s.adjusting:.1f} s",
        ]
        for s in scores
    ]
    return markdown_table([header, *rows])


if __name__ == "__main__":
    run_command_line(main, Options, use_underscores=True)
