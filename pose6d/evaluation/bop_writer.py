"""Writing data sets in BOP format from meshes and poses, drawn by our own renderer: for tests and for try-outs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose6d.errors import OutputError
from pose6d.geometry.masks import mask_box
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering import Renderer, make_renderer
from pose6d.scenes.images import write_image

_DEPTH_SCALE = 0.1  # millimetres per unit: 6.5 m in 16 bits


@dataclass(frozen=True, eq=False)
class Arrangement:
    """What one image shows.

    Attributes:
        objects: (object number, (4, 4) object in camera in metres) of each instance.
        K: (3, 3) intrinsics.
    """

    objects: Sequence[tuple[int, np.ndarray]]
    K: np.ndarray


class BopWriter:
    """Writes <folder>/<split>/<scene>/ with images, masks and ground truth, models/, models_eval/ and the targets file.

    Args:
        folder: a new or empty folder.
        meshes: by object number, metres.
        size: (height, width) of the images.
        symmetries: models_info.json entries by object number, such as {"symmetries_discrete": [[...16 numbers]]}; BOP
            gives their lengths in millimetres.
        split: name of the folder of scenes.
        wall: metres to a wall behind everything; 0 for none, that is missing depth.
        gray: write gray/ in place of rgb/, as ITODD.

    Raises:
        OutputError: the folder is not empty, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        meshes: Mapping[int, Mesh],
        size: tuple[int, int],
        *,
        symmetries: Mapping[int, Mapping[str, Any]] | None = None,
        split: str = "test",
        wall: float = 1.5,
        gray: bool = False,
    ) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: name a new folder for the data set")
        self.folder, self.size, self.split, self._wall, self._gray = folder, size, split, wall, gray
        self._ids = list(meshes)
        self._renderer: Renderer = make_renderer(list(meshes.values()), "cpu")
        self._targets: list[dict[str, int]] = []
        for name in ("models", "models_eval"):
            self._write_models(folder / name, meshes, symmetries or {})

    def write_scene(self, scene_id: int, images: Sequence[Arrangement]) -> None:
        """Write the images of a scene, numbered from 0, and extend the targets file by every visible instance."""
        path = self.folder / self.split / f"{scene_id:06d}"
        camera, truth, info = {}, {}, {}
        for im_id, arrangement in enumerate(images):
            name = f"{im_id:06d}"
            visible, whole = self._draw(path, name, arrangement)
            camera[im_id] = {"cam_K": np.asarray(arrangement.K).ravel().tolist(), "depth_scale": _DEPTH_SCALE}
            truth[im_id] = [_pose_entry(obj_id, pose) for obj_id, pose in arrangement.objects]
            info[im_id] = [_info_entry(seen, all_) for seen, all_ in zip(visible, whole, strict=True)]
            counts = Counter(
                obj_id
                for (obj_id, _), entry in zip(arrangement.objects, info[im_id], strict=True)
                if entry["visib_fract"] >= 0.1
            )
            self._targets += [
                {"im_id": im_id, "inst_count": count, "obj_id": obj_id, "scene_id": scene_id}
                for obj_id, count in sorted(counts.items())
            ]
        for name, values in (("scene_camera", camera), ("scene_gt", truth), ("scene_gt_info", info)):
            write_json(path / f"{name}.json", values)
        write_json(self.folder / f"{self.split.split('_')[0]}_targets_bop19.json", self._targets)

    def _draw(self, path: Path, name: str, arrangement: Arrangement) -> tuple[np.ndarray, np.ndarray]:
        """Write the images of one frame; (M, H, W) visible and whole silhouettes."""
        poses = torch.tensor(np.stack([pose for _, pose in arrangement.objects]), dtype=torch.float32)
        index = torch.tensor([self._ids.index(obj_id) for obj_id, _ in arrangement.objects])
        K = torch.tensor(np.asarray(arrangement.K), dtype=torch.float32)
        together = torch.zeros(len(poses), dtype=torch.int64)
        scene = self._renderer.render(poses, K, self.size, mesh_index=index, image_index=together)
        alone = self._renderer.render(poses, K, self.size, mesh_index=index)
        hit = scene.mask[0].numpy()
        color = np.where(hit[..., None], scene.color[0].numpy(), 0.4)
        depth = np.where(hit, scene.depth[0].numpy(), self._wall)
        rgb = np.round(color * 255).astype(np.uint8)
        if self._gray:
            write_image(path / "gray" / f"{name}.tif", rgb.mean(axis=2).astype(np.uint8))
        else:
            write_image(path / "rgb" / f"{name}.png", rgb)
        suffix = "tif" if self._gray else "png"
        write_image(path / "depth" / f"{name}.{suffix}", np.round(depth * 1000 / _DEPTH_SCALE).astype(np.uint16))
        visible = scene.instance[0].numpy() == np.arange(len(poses))[:, None, None]
        whole = alone.mask.numpy()
        for number in range(len(poses)):
            write_image(path / "mask_visib" / f"{name}_{number:06d}.png", visible[number])
            write_image(path / "mask" / f"{name}_{number:06d}.png", whole[number])
        return visible, whole

    def _write_models(
        self, folder: Path, meshes: Mapping[int, Mesh], symmetries: Mapping[int, Mapping[str, Any]]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        info = {}
        for obj_id, mesh in meshes.items():
            save_mesh(mesh.scaled(1000), folder / f"obj_{obj_id:06d}.ply")
            low, high = mesh.vertices.min(axis=0) * 1000.0, mesh.vertices.max(axis=0) * 1000.0
            info[obj_id] = {
                "diameter": 1000 * mesh.diameter,
                **{f"min_{axis}": float(value) for axis, value in zip("xyz", low, strict=True)},
                **{f"size_{axis}": float(value) for axis, value in zip("xyz", high - low, strict=True)},
                **symmetries.get(obj_id, {}),
            }
        write_json(folder / "models_info.json", info)


def _pose_entry(obj_id: int, pose: np.ndarray) -> dict[str, Any]:
    return {
        "obj_id": obj_id,
        "cam_R_m2c": np.asarray(pose)[:3, :3].ravel().tolist(),
        "cam_t_m2c": (np.asarray(pose)[:3, 3] * 1000).tolist(),
    }


def _info_entry(visible: np.ndarray, whole: np.ndarray) -> dict[str, Any]:
    seen, all_ = int(visible.sum()), int(whole.sum())
    return {
        "bbox_obj": _box(whole),
        "bbox_visib": _box(visible),
        "px_count_all": all_,
        "px_count_valid": all_,
        "px_count_visib": seen,
        "visib_fract": seen / all_ if all_ else 0.0,
    }


def _box(mask: np.ndarray) -> list[int]:
    """[x, y, width, height], -1 each for an empty mask."""
    return list(mask_box(mask) or [-1] * 4)
