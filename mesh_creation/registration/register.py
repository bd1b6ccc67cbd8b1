"""`python -m mesh_creation register`: where the camera was at every frame of a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mesh_creation.board.layout import load_board
from mesh_creation.registration.board_reading import BoardReading, check_enough, read_board
from mesh_creation.registration.depth_cleaning import clean_depth
from mesh_creation.registration.depth_scale import check_depth_scale, measure_depth_scale
from mesh_creation.registration.frame_localization import FrameCache
from mesh_creation.registration.keyframes import choose_keyframes, overlapping_pairs, view_distances
from mesh_creation.registration.object_region import find_object, points_above_board
from mesh_creation.registration.object_stability import ObjectView, check_object_stays, disagreement
from mesh_creation.registration.scan_quality import FrameRecord, coverage, coverage_warnings, quality_picture
from mesh_creation.registration.trajectory import Trajectory, join_frames, refine
from mesh_creation.registration.work_area import WorkArea
from mesh_creation.step_files import StepFolder, recording_inputs, write_array
from pose6d.errors import OutputError
from pose6d.json_file import read_json, write_json
from pose6d.scenes import Scene, open_scene
from pose6d.scenes.images import write_image
from pose6d.scenes.selection import select_frames

VERSION = 1
_BELOW = -0.012  # metres along z from which on points belong to the board
_OVERLAP = np.radians(30)  # views of about the same side
_MAX_DISTANCE = 0.0025  # metres off the object as the board's frames see it
_CENTER = np.array([0.0, 0.0, 0.04])  # what a scan looks at, board frame


@dataclass(frozen=True)
class RegisterOptions:
    """Find the camera's pose at every frame of a scan."""

    scan: Path
    """the folder of the recording: JPEGImages/, depth/, intrinsics.json, board.json"""
    overwrite: bool = False
    """register again, and replace the earlier result"""
    frames: str | None = None
    """only these frames: "100" for the first hundred, or "start:stop:step" """
    depth_scale: float | None = None
    """metres per depth unit, instead of what intrinsics.json says"""
    keyframe_step: float = 8.0
    """degrees between keyframes"""
    max_keyframes: int = 80
    """more views than this add time and no accuracy"""


def main(options: RegisterOptions) -> Path:
    """Register a scan.

    Writes transforms.npy (camera i in frame 0, the first that was registered; NaN where a frame was rejected),
    registration.png and, last, registration.json. Steps that an interrupted run has finished are taken from
    registration/.

    Returns:
        Path of registration.json.

    Raises:
        SceneError: the scan cannot be registered: no board, a wrong depth scale, no object, or one that moved.
        OutputError: the folder holds a registration of another recording, or a transforms.npy of another source.
    """
    result = options.scan / "registration.json"
    scene = open_scene(options.scan, depth_scale=options.depth_scale)
    board = load_board(options.scan / "board.json")
    if result.is_file() and not options.overwrite:
        _check_same_recording(result, scene)
        print(f"{options.scan} is registered already (--overwrite registers it again)")
        return result
    wanted = list(range(len(scene))) if options.frames is None else select_frames(options.frames, len(scene))
    _protect_transforms(options)
    steps = StepFolder(options.scan / "registration", _inputs(options, scene))
    if result.is_file():  # from here on the scan counts as not registered, and an interrupted run as unfinished
        steps.forget()
        result.unlink()

    # 1. The board in every frame, and whether depth and markers agree on the distance.
    reading = read_board(scene, board, wanted, steps)
    check_enough(reading, wanted, str(options.scan), board)
    scale = measure_depth_scale(reading.ratios)
    stated = _stated_scale(options)
    warnings = reading.warnings + check_depth_scale(scale, stated, str(options.scan))

    # 2. Frames without a board, by their neighbours; 3. all keyframes together.
    agreeing = stated if np.isnan(scale.ratio) else stated / scale.ratio
    cache, sheet = FrameCache(open_scene(options.scan, depth_scale=agreeing)), WorkArea.over(board, _BELOW)
    path = _join(cache, reading, wanted, sheet, steps)
    step = np.radians(options.keyframe_step)
    keyframes = choose_keyframes(path.poses, reading.sharpness, _CENTER, step, options.max_keyframes)
    poses, graph = _refine(cache, path, keyframes, sheet, steps)

    # 4. Does it all fit one object that stood still?
    apart = _check_object(cache, poses, keyframes, path, sheet, str(options.scan))
    keyframes = [i for i in keyframes if poses[i] is not None]

    # 5. The report and the results.
    records = _records(scene, reading, path)
    covered = coverage(np.stack([pose for pose in poses if pose is not None]), _CENTER)
    warnings += coverage_warnings(covered)
    write_image(options.scan / "registration.png", quality_picture(records, poses, _CENTER))
    first = next(pose for pose in poses if pose is not None)
    in_first = [None if pose is None else np.linalg.inv(first) @ pose for pose in poses]
    write_array(options.scan / "transforms.npy", _stack(in_first))
    values = {
        "version": VERSION,
        "frames": scene.names,
        "camera_in_board": poses,
        "reference_frame": next(name for name, pose in zip(scene.names, poses, strict=True) if pose is not None),
        "rejected": {record.name: record.reason for record in records if record.method == "rejected"},
        "keyframes": [scene.names[i] for i in keyframes],
        "depth_scale": {"stated": stated, "agreeing": agreeing, **asdict(scale)},
        "reprojection_px": _median(record.reprojection for record in records),
        "object_overlap_m": apart,
        "coverage": covered,
        "pose_graph": graph,
        "warnings": warnings,
        "per_frame": {record.name: _quality(record) for record in records},
    }
    write_json(result, values)
    _print_summary(values, records)
    return result


def _join(
    cache: FrameCache, reading: BoardReading, wanted: list[int], sheet: WorkArea, steps: StepFolder
) -> Trajectory:
    def find() -> dict[str, Any]:
        waiting = [
            i for i in wanted if reading.poses[i] is None and not reading.reasons[i].startswith("cannot be read")
        ]
        path = join_frames(cache, reading.poses, waiting, reading.reasons, sheet, _CENTER)
        return {**asdict(path), "poses": _stack(path.poses)}

    done = steps.load_or_make("path", find)
    lists = done["methods"].tolist(), done["reasons"].tolist()
    return Trajectory(_unstack(done["poses"]), lists[0], done["fitness"], done["information"], lists[1])


def _refine(
    cache: FrameCache,
    path: Trajectory,
    keyframes: list[int],
    sheet: WorkArea,
    steps: StepFolder,
) -> tuple[list[np.ndarray | None], dict[str, Any]]:
    def optimize() -> dict[str, Any]:
        poses, summary = refine(cache, path, keyframes, sheet, _CENTER)
        return {"poses": _stack(poses), **summary}

    done = steps.load_or_make("graph", optimize)
    return _unstack(done.pop("poses")), {name: value.item() for name, value in done.items()}


def _check_object(
    cache: FrameCache,
    poses: list[np.ndarray | None],
    keyframes: list[int],
    path: Trajectory,
    sheet: WorkArea,
    source: str,
) -> float:
    """Median disagreement in metres of overlapping views of the object; SceneError where none stands or it moved.

    Frames without a board that do not fit the object are rejected in `poses` and `path`.
    """
    area = replace(sheet, low=0.004)
    by_board = [i for i in keyframes if path.methods[i] == "board"]
    placed = [i for i, method in enumerate(path.methods) if method in ("features", "icp") and poses[i] is not None]
    views = {}
    for index in [*by_board, *placed]:
        pose = poses[index]
        assert pose is not None
        frame = cache.scene[index]
        depth = clean_depth(frame.depth, frame.K)[0]
        half = np.diag([0.5, 0.5, 1.0]) @ frame.K  # of every second pixel
        views[index] = ObjectView(points_above_board(depth, frame.K, pose, area), depth[::2, ::2], half, pose)
    region = find_object([view.points for view in views.values()], area, source)
    low, high = region.low - 0.02, region.high + 0.02
    views = {
        i: replace(view, points=view.points[((view.points > low) & (view.points < high)).all(axis=1)])
        for i, view in views.items()
    }
    # A frame that its neighbours have placed may be off by itself: that says nothing about the object.
    if not by_board:
        return float("nan")
    stack = np.stack([views[i].camera_in_board for i in by_board])
    pairs = [(by_board[a], by_board[b]) for a, b in overlapping_pairs(stack, _CENTER, _OVERLAP, 5)]
    apart = check_object_stays({i: views[i] for i in by_board}, pairs, cache.scene.names, source)
    for index in placed:
        away = view_distances(views[index].camera_in_board[None], stack, _CENTER)[0]
        near = [by_board[k] for k in np.argsort(away)[:5] if away[k] < _OVERLAP]
        off = _median(disagreement(views[index], views[i]) for i in near)
        if off > max(_MAX_DISTANCE, 2 * apart):
            poses[index], path.methods[index] = None, "rejected"
            path.reasons[index] += f"placed by its neighbours it is {1000 * off:.1f} mm off the object"
    return apart


def _inputs(options: RegisterOptions, scene: Scene) -> dict[str, Any]:
    asked = {key: value for key, value in asdict(options).items() if key not in ("scan", "overwrite")}
    return {"version": VERSION, "options": asked, **recording_inputs(options.scan, scene.names)}


def _check_same_recording(result: Path, scene: Scene) -> None:
    values = read_json(result)
    if not isinstance(values, dict) or values.get("frames") != scene.names:
        raise OutputError(f"{result} is not of the frames that lie beside it: pass --overwrite to register them")


def _protect_transforms(options: RegisterOptions) -> None:
    """Keep a transforms.npy that came with the recording."""
    file = options.scan / "transforms.npy"
    ours = (options.scan / "registration").is_dir() or (options.scan / "registration.json").is_file()
    if not file.is_file() or ours:
        return
    if not options.overwrite:
        raise OutputError(
            f"{file} came with the recording: pass --overwrite to keep it as transforms.before.npy and write a new one"
        )
    file.rename(options.scan / "transforms.before.npy")


def _stated_scale(options: RegisterOptions) -> float:
    if options.depth_scale is not None:
        return options.depth_scale
    return float(read_json(options.scan / "intrinsics.json").get("depth_scale", 0.001))


def _records(scene: Scene, reading: BoardReading, path: Trajectory) -> list[FrameRecord]:
    records = []
    for index, name in enumerate(scene.names):
        board, sharp = reading.poses[index], reading.sharpness[index]
        method = path.methods[index]
        if board is not None:
            records.append(FrameRecord(name, method, "", board.rms, board.used, sharpness=sharp))
        else:
            records.append(FrameRecord(name, method, path.reasons[index], fitness=path.fitness[index], sharpness=sharp))
    return records


def _quality(record: FrameRecord) -> dict[str, Any]:
    values = {key: value for key, value in asdict(record).items() if key not in ("name", "reason")}
    return {key: value for key, value in values.items() if not (isinstance(value, float) and np.isnan(value))}


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def _print_summary(values: dict[str, Any], records: list[FrameRecord]) -> None:
    board, rejected = (sum(record.method == method for record in records) for method in ("board", "rejected"))
    print(
        f"registered {len(records) - rejected} of {len(records)} frames ({board} by the board, "
        f"{len(records) - rejected - board} by their neighbours), reprojection error "
        f"{values['reprojection_px']:.2f} px, views cover "
        f"{values['coverage']['share']:.0%} of the sphere"
    )
    for line in values["warnings"]:
        print(f"warning: {line}")


def _stack(poses: list[np.ndarray | None]) -> np.ndarray:
    return np.stack([np.full((4, 4), np.nan) if pose is None else pose for pose in poses])


def _unstack(poses: np.ndarray) -> list[np.ndarray | None]:
    return [pose if np.isfinite(pose).all() else None for pose in poses]
