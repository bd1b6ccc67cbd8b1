"""Labels as a data set in BOP format (https://github.com/thodan/bop_toolkit, docs/bop_datasets_format.md): millimetres.

bop/models/obj_<number>.ply with models_info.json, and one scene of each split with pictures, depth, masks and poses.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mesh_creation.labels.formats import SPLITS, share_file
from mesh_creation.labels.masks import LabelledFrame
from mesh_creation.scan_folder import ScannedObject
from pose6d.json_file import write_json
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes.images import write_image

_MM = 1000.0


class BopLabelWriter:
    """Writes the recording as bop/train/000000 and bop/test/000000; frames keep their numbers.

    Args:
        folder: to be made.
        objects: all that may appear.
        depth_files: of the recording, by frame name; they are taken over as they are.
        depth_scale: metres per unit of those.
    """

    def __init__(
        self, folder: Path, objects: Sequence[ScannedObject], depth_files: dict[str, Path], depth_scale: float
    ) -> None:
        self.folder, self.objects = folder, objects
        self.depth_files, self.depth_scale = depth_files, depth_scale
        self.tables: dict[str, dict[str, dict[str, Any]]] = {
            split: {"scene_camera": {}, "scene_gt": {}, "scene_gt_info": {}} for split in SPLITS
        }

    def add(self, frame: LabelledFrame, color_file: Path) -> None:
        scene, table = self.folder / frame.split / "000000", self.tables[frame.split]
        stem, key = f"{frame.number:06d}", str(frame.number)
        depth_file = self.depth_files[frame.name]
        share_file(color_file, scene / "rgb" / f"{stem}{color_file.suffix}")
        (scene / "depth").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(depth_file, scene / "depth" / f"{stem}{depth_file.suffix}")
        table["scene_camera"][key] = {
            "cam_K": [float(value) for value in frame.K.ravel()],
            "depth_scale": self.depth_scale * _MM,
        }
        table["scene_gt"][key], table["scene_gt_info"][key] = [], []
        for place, label in enumerate(frame.labels):
            pose = label.object_in_camera
            table["scene_gt"][key].append(
                {
                    "cam_R_m2c": [float(value) for value in pose[:3, :3].ravel()],
                    "cam_t_m2c": [float(value) for value in pose[:3, 3] * _MM],
                    "obj_id": label.item.number,
                }
            )
            table["scene_gt_info"][key].append(
                {
                    "bbox_obj": list(label.full_box),
                    "bbox_visib": list(label.visible_box or (-1, -1, -1, -1)),
                    "px_count_all": label.full_pixels,
                    "px_count_valid": int((label.full & (frame.depth > 0)).sum()),
                    "px_count_visib": int(label.visible.sum()),
                    "visib_fract": label.visibility,
                }
            )
            write_image(scene / "mask" / f"{stem}_{place:06d}.png", label.full)
            write_image(scene / "mask_visib" / f"{stem}_{place:06d}.png", label.visible)

    def close(self) -> None:
        info = {}
        (self.folder / "models").mkdir(parents=True, exist_ok=True)
        for item in self.objects:
            with warnings.catch_warnings():  # that PLY keeps colours only at vertices is BOP's choice
                warnings.simplefilter("ignore", UserWarning)
                save_mesh(item.mesh.scaled(_MM), self.folder / "models" / f"obj_{item.number:06d}.ply")
            info[str(item.number)] = _model_info(item)
        write_json(self.folder / "models" / "models_info.json", info)
        for split, tables in self.tables.items():
            if tables["scene_camera"]:
                for name, table in tables.items():
                    write_json(self.folder / split / "000000" / f"{name}.json", table)


def _model_info(item: ScannedObject) -> dict[str, Any]:
    low, high = item.mesh.bounds.astype(np.float64) * _MM
    info: dict[str, Any] = {"diameter": item.mesh.diameter * _MM, "name": item.name}
    for axis, name in enumerate("xyz"):
        info[f"min_{name}"], info[f"size_{name}"] = float(low[axis]), float(high[axis] - low[axis])
    discrete = [np.array(T, dtype=np.float64).reshape(4, 4) for T in item.symmetries.get("symmetries_discrete", ())]
    for T in discrete:
        T[:3, 3] *= _MM
    continuous = [
        {"axis": list(entry["axis"]), "offset": [float(v) * _MM for v in entry.get("offset", (0, 0, 0))]}
        for entry in item.symmetries.get("symmetries_continuous", ())
    ]
    if discrete:
        info["symmetries_discrete"] = [T.ravel().tolist() for T in discrete]
    if continuous:
        info["symmetries_continuous"] = continuous
    return info
