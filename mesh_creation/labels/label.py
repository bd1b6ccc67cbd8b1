"""Labels of a registered scan: the pose, masks and boxes of every object in every frame, in usual formats.

    python -m mesh_creation label --scan my_scan

Poses come from the board (registration.json) and from where each object stands on it (objects.json); masks are drawn
from the meshes, so that a hidden part of an object is hidden in its visible mask.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from tqdm import tqdm

from mesh_creation.labels.bop import BopLabelWriter
from mesh_creation.labels.formats import (
    CocoWriter,
    CsvWriter,
    InspectionVideo,
    LabelWriter,
    MaskWriter,
    SingleShotPoseWriter,
    YoloWriter,
)
from mesh_creation.labels.masks import LabelledFrame, MaskRenderer
from mesh_creation.scan_folder import ScannedObject, read_objects, read_registration
from pose6d.errors import FrameError, OutputError, SceneError, as_whole_number
from pose6d.json_file import read_json, write_json
from pose6d.scenes import open_scene
from pose6d.scenes.images import list_images

LabelFormat = Literal["masks", "bop", "coco", "yolo", "singleshotpose", "csv", "video"]
_DONE = "labels.json"


@dataclass(frozen=True)
class LabelOptions:
    """Write the labels of a registered scan."""

    scan: Path
    """the scan's folder, with registration.json and objects.json"""
    test_share: float = 0.2
    """share of the frames that goes into the test split"""
    block: int = 10
    """so many frames in a row stay in one split, as neighbours look alike; 1 draws every frame by itself"""
    seed: int = 0
    """of the split"""
    formats: tuple[LabelFormat, ...] = get_args(LabelFormat)
    """which to write"""
    occluder_gap: float = 0.0
    """metres by which measured depth must be nearer than an object to hide it (hands, tools); 0: never"""
    overwrite: bool = False
    """replace the labels that an earlier run wrote"""


def main(options: LabelOptions) -> Path:
    """Write <scan>/labels, or keep the labels that are there.

    Everything is written to labels.partial/ and moved into place when complete. The folder has its own copy of the
    pictures, which its formats share, so that a tool that rewrites them does not touch the recording.

    Returns:
        The folder labels/.

    Raises:
        SceneError: the scan is not registered or has no objects, or an option makes no sense.
        OutputError: labels/ holds something that this step did not write.
    """
    _check(options)
    folder, partial = options.scan / "labels", options.scan / "labels.partial"
    if (folder / _DONE).is_file() and not options.overwrite:
        print(f"labels: {folder} is there already, kept (--overwrite makes it again)")
        return folder
    if folder.exists() and not (folder / _DONE).is_file():
        raise OutputError(f"{folder} holds files that this step did not write: move it away")
    scene = open_scene(options.scan)
    if scene.distorted:
        raise SceneError(
            f"{options.scan / 'intrinsics.json'} states lens distortion, and labels come with the pictures as they "
            "are: undistort colour and depth, set the coefficients to 0, and run register again"
        )
    cameras = read_registration(options.scan, scene.names)
    objects = read_objects(options.scan)
    known = [index for index, camera in enumerate(cameras) if camera is not None]
    if not known:
        raise SceneError(f"{options.scan}: no frame is registered, so there is nothing to label")
    splits = split_frames(len(known), options.test_share, options.block, options.seed)

    shutil.rmtree(partial, ignore_errors=True)
    (partial / "JPEGImages").mkdir(parents=True)
    writers = _writers(partial, options, objects)
    renderer = MaskRenderer(objects, options.occluder_gap)
    color_files = list_images(options.scan / "JPEGImages")
    table, damaged = [], []
    for index, split in tqdm(list(zip(known, splits, strict=True)), desc="labelling", unit="frame"):
        camera = cameras[index]
        assert camera is not None
        try:
            frame = scene[index]
        except FrameError as error:
            damaged.append(f"{error}")
            continue
        labels = renderer.label(camera, frame.K, frame.depth)
        labelled = LabelledFrame(index, frame.name, split, frame.rgb, frame.depth, frame.K, labels)
        picture = partial / "JPEGImages" / color_files[frame.name].name
        shutil.copyfile(color_files[frame.name], picture)
        for writer in writers:
            writer.add(labelled, picture)
        table.append(_entry(labelled))
    for writer in writers:
        writer.close()
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    rejected = [scene.names[index] for index, camera in enumerate(cameras) if camera is None]
    facts = {"version": 1, "settings": settings, "objects": [item.name for item in objects]}
    write_json(partial / _DONE, facts | {"not_registered": rejected, "damaged": damaged, "frames": table})
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    print(_summary(folder, table, rejected, damaged))
    return folder


def split_frames(count: int, test_share: float, block: int, seed: int = 0) -> list[str]:
    """ "train" or "test" for each of `count` frames; exactly round(count * test_share) of them are test.

    Whole blocks of neighbours are drawn, and the last one drawn is cut short.
    """
    wanted = round(count * test_share)
    starts = np.random.default_rng(seed).permutation(np.arange(0, count, block))
    drawn = np.concatenate([np.arange(start, min(start + block, count)) for start in starts]) if count else starts
    test = set(drawn[:wanted].tolist())
    return ["test" if index in test else "train" for index in range(count)]


def _check(options: LabelOptions) -> None:
    if not 0 <= options.test_share <= 1:
        raise SceneError(f"test_share is {options.test_share}, wanted a share from 0 to 1, such as 0.2")
    if options.block < 1:
        raise SceneError(f"block is {options.block}, wanted 1 frame or more")
    if not 0 <= options.occluder_gap < 10:
        raise SceneError(f"occluder_gap is {options.occluder_gap}, wanted metres, such as 0.015")
    as_whole_number(options.seed, "seed", least=0)


def _writers(folder: Path, options: LabelOptions, objects: Sequence[ScannedObject]) -> list[LabelWriter]:
    values = read_json(options.scan / "intrinsics.json")
    makers: dict[LabelFormat, Any] = {
        "masks": lambda: MaskWriter(folder / "masks"),
        "bop": lambda: BopLabelWriter(
            folder / "bop", objects, list_images(options.scan / "depth"), float(values.get("depth_scale", 0.001))
        ),
        "coco": lambda: CocoWriter(folder / "coco", objects),
        "yolo": lambda: YoloWriter(folder / "yolo", objects),
        "singleshotpose": lambda: SingleShotPoseWriter(folder / "singleshotpose", objects),
        "csv": lambda: CsvWriter(folder / "annotations.csv"),
        "video": lambda: InspectionVideo(folder / "inspection.mp4"),
    }
    return [makers[name]() for name in makers if name in options.formats]


def _entry(frame: LabelledFrame) -> dict[str, Any]:
    objects = [
        {
            "name": label.item.name,
            "object_in_camera": label.object_in_camera.tolist(),
            "full_box": label.full_box,
            "visible_box": label.visible_box,
            "visibility": round(label.visibility, 4),
            "box_centre_and_corners": np.round(label.corners, 3).tolist(),
        }
        for label in frame.labels
    ]
    return {"name": frame.name, "split": frame.split, "objects": objects}


def _summary(folder: Path, table: list[dict[str, Any]], rejected: list[str], damaged: list[str]) -> str:
    test = sum(entry["split"] == "test" for entry in table)
    text = f"labels: {len(table)} frames ({len(table) - test} train, {test} test) in {folder}"
    if rejected:
        text += f"; {len(rejected)} without a pose left out"
    return text + "".join(f"\nlabels: left out: {what}" for what in damaged)
