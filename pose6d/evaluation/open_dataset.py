"""Opening a data set: the layout is told by what the folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pose6d.errors import SceneError, listing
from pose6d.evaluation.datasets import PoseDataset
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.datasets_ycb import EoatDataset, YcbVideoDataset

_LAYOUTS = """  BOP, LINEMOD: <split>/<scene>/scene_camera.json, models/
  YCB-Video:    data/<video>/<frame>-meta.mat, keyframe.txt, models/<name>/textured_simple.obj
  YCBInEOAT:    <sequence>/cam_K.txt, rgb/, depth/, masks/, annotated_poses/, and models/<name>/textured_simple.obj"""


def open_dataset(
    path: Path, *, split: str | None = None, targets_file: Path | None = None, models: str | None = None
) -> PoseDataset:
    """Open a data set.

    Args:
        path: its folder.
        split: part of a BOP data set, for example "val".
        targets_file: what to find, instead of the data set's own file (BOP), or instead of keyframe.txt (YCB-Video).
        models: folder of meshes of a BOP data set to find objects with.

    Raises:
        SceneError: there is no such folder, no layout matches, or the data set is not complete.
    """
    if not path.is_dir():
        raise SceneError(f"data set {path} {'is a file' if path.exists() else 'does not exist'}: pass its folder")
    if next(path.glob("data/*/*-meta.mat"), None):
        refuse({"split": split, "models": models}, "YCB-Video")
        return YcbVideoDataset(path, targets_file=targets_file)
    if next(path.glob("*/cam_K.txt"), None):
        refuse({"split": split, "models": models, "targets": targets_file}, "YCBInEOAT")
        return EoatDataset(path)
    cameras = (path.glob(f"{depth}/scene_camera.json") for depth in ("*/*", "*/*/*"))
    if any(next(found, None) for found in cameras):
        return BopDataset(path, split=split, targets_file=targets_file, models=models)
    raise SceneError(f"{path} is no data set. Looked for one of\n{_LAYOUTS}\nand found: {listing(path)}")


def refuse(arguments: Mapping[str, object], layout: str) -> None:
    """Raise SceneError where an argument is given that means nothing for a layout."""
    given = [f"--{name}" for name, value in arguments.items() if value is not None]
    if given:
        raise SceneError(f"{', '.join(given)}: the {layout} layout has none to choose from; leave it out")
