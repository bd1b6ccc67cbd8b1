"""Makes the demo's recording: half an avocado on a laid table, seen by a moving RGB-D camera.

    python -m test_data.make_avocado_scene

Nothing is downloaded and nothing is random but by seed: the same version of the code makes the same files. The folder
has the capture layout (JPEGImages/, depth/, intrinsics.json, transforms.npy) and also masks/ and the mesh.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pose6d.camera_simulation.frozen.avocado_camera import AvocadoCamera
from pose6d.command import run_command
from pose6d.errors import OutputError
from pose6d.geometry.transforms import look_at
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering import ALBEDO, Renderer, Rendering, make_renderer
from pose6d.scenes.images import write_image
from test_data.kitchen_scene import Body, camera_in_world, kitchen, spoon, spoon_in_world
from test_data.scene_lighting import Light, LightRig
from test_data.scenes_folder import AVOCADO, SCENES, read_marker

FRAMES = 90
CAMERA = AvocadoCamera()
VERSION = 1  # of the scene's look; a folder made by another version is reported, not silently used

_MARKER = "scene.json"
_AT_ONCE = 6  # frames per render call: enough to keep all cores busy, few enough for any memory
_ORIGIN = np.array([0.0, 0.08, 0.0])


@dataclass(frozen=True)
class RenderedFrame:
    """One perfect frame, before the camera sees it."""

    index: int
    albedo: np.ndarray  # (H, W, 3) float32, antialiased
    xyz: np.ndarray  # (H, W, 3) float32, camera axes
    normal: np.ndarray  # (H, W, 3) float32, camera axes
    body: np.ndarray  # (H, W) int, number of the body seen, -1 for none


def make_avocado_scene(
    folder: str | os.PathLike[str], frames: int = FRAMES, *, overwrite: bool = False, progress: bool = True
) -> Path:
    """Make the recording, or keep the one that is there.

    It is written beside the folder and moved into place when complete, so an interrupted run leaves nothing half done.

    Args:
        folder: where to; its parents are made.
        frames: how many of the camera path's frames, from its beginning.
        overwrite: replace a recording that an earlier call made.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        OutputError: the folder holds something else, or a recording of other length or version without `overwrite`.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        made = read_marker(folder / _MARKER)
        if made.get("made_by") != _marker(0)["made_by"]:
            raise OutputError(
                f"{folder} holds files that are no avocado scene: move them away, or choose another folder"
            )
        if made == _marker(frames) and not overwrite:
            return folder
        if not overwrite:
            raise OutputError(
                f"{folder} holds an avocado scene of version {made.get('version')} with {made.get('frames')} frames, "
                f"wanted version {VERSION} with {frames}: delete the folder, or pass overwrite"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
        scene = Path(unfinished) / "scene"
        _write_scene(scene, frames, progress)
        if folder.exists():
            shutil.rmtree(folder)  # empty, or made by this function and to be replaced
        scene.rename(folder)
    return folder


def _marker(frames: int) -> dict[str, object]:
    return {"made_by": "test_data.make_avocado_scene", "version": VERSION, "frames": frames}


def _write_scene(scene: Path, frames: int, progress: bool) -> None:
    bodies = kitchen()
    for name in ("JPEGImages", "depth", "masks"):
        (scene / name).mkdir(parents=True)
    save_mesh(bodies[0].mesh, scene / "mesh" / "avocado.obj")
    (scene / "intrinsics.json").write_text(json.dumps(CAMERA.intrinsics(), indent=2) + "\n")

    maker = _SceneMaker(bodies)
    cameras = [camera_in_world(_time(i)) for i in range(frames)]
    # The mesh is fixed in the world: camera in object = (object in world)^-1 camera in world.
    np.save(scene / "transforms.npy", np.linalg.inv(bodies[0].in_world) @ np.stack(cameras))
    bar = tqdm(total=frames, desc="making the avocado scene", unit="frame", disable=not progress)
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool, bar:
        for start in range(0, frames, _AT_ONCE):
            rendered = maker.render(range(start, min(start + _AT_ONCE, frames)))
            for _ in pool.map(lambda frame: maker.record(frame, scene), rendered):
                bar.update()
    (scene / _MARKER).write_text(json.dumps(_marker(frames), indent=2) + "\n")


def _time(index: int) -> float:
    return index / (FRAMES - 1)


class _SceneMaker:
    """Renders, lights and records the kitchen."""

    def __init__(self, bodies: list[Body]) -> None:
        self.bodies = bodies
        self.renderer: Renderer = make_renderer([body.mesh for body in bodies] + [spoon()], "cpu")
        self.gloss = np.array([body.gloss for body in bodies] + [0.1, 0.0], np.float32)  # spoon, then nothing
        # Each pixel is split into 2 x 2: its centre, an integer, lies between the centres 2u and 2u + 1.
        self.K_fine = np.diag([2.0, 2.0, 1.0]) @ CAMERA.K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        self.lights = LightRig(
            [
                Light(look_at(np.array([-0.75, -0.25, 1.25]), _ORIGIN), (0.80, 0.77, 0.70), 3.0, highlights=True),
                Light(look_at(np.array([0.9, -0.5, 1.3]), _ORIGIN), (0.20, 0.21, 0.24), 12.0, highlights=True),
                Light(look_at(np.array([0.15, 0.1, 1.7]), _ORIGIN, up=(0, 1, 0)), (0.22, 0.22, 0.22), 16.0),
            ],
            ambient=(0.17, 0.18, 0.20),
        )
        self.shadows = self.lights.shadow_maps(lambda pose, K, size: self._depth_from(pose, K, size, None))

    def render(self, indices: range) -> Iterator[RenderedFrame]:
        """Perfect pictures of some frames, in one call of the renderer each for colour and geometry."""
        poses, mesh_index, image_index = [], [], []
        for image, index in enumerate(indices):
            world_in_camera = np.linalg.inv(camera_in_world(_time(index)))
            for mesh, in_world in enumerate(self._poses_in_world(_time(index))):
                poses.append(world_in_camera @ in_world)
                mesh_index.append(mesh)
                image_index.append(image)
        meshes = np.array(mesh_index)
        T, which, where = torch.from_numpy(np.stack(poses)).float(), torch.tensor(mesh_index), torch.tensor(image_index)

        def draw(K: np.ndarray, height: int, width: int, normals: bool) -> Rendering:
            return self.renderer.render(
                T,
                torch.from_numpy(K).float(),
                (height, width),
                mesh_index=which,
                image_index=where,
                shading=ALBEDO,
                normals=normals,
            )

        height, width = CAMERA.size
        fine, plain = draw(self.K_fine, 2 * height, 2 * width, False), draw(CAMERA.K, height, width, True)
        # Averaged as light (gamma 2), not as code values, or edges would come out too dark.
        albedo = fine.color.numpy().reshape(-1, height, 2, width, 2, 3)
        assert plain.normal is not None
        for image, index in enumerate(indices):
            body = plain.instance[image].numpy()
            yield RenderedFrame(
                index=index,
                albedo=np.square(albedo[image]).mean(axis=(1, 3)),
                xyz=plain.xyz[image].numpy(),
                normal=plain.normal[image].numpy(),
                body=np.where(body >= 0, meshes[body], -1),
            )

    def record(self, frame: RenderedFrame, scene: Path) -> None:
        """Light one frame, let the camera see it and write its files."""
        rng = np.random.default_rng([VERSION, frame.index])
        time = _time(frame.index)
        pose = camera_in_world(time).astype(np.float32)
        shadows = self.shadows
        if spoon_in_world(time) is not None:
            shadows = self.lights.shadow_maps(lambda light, K, size: self._depth_from(light, K, size, time))
        linear = self.lights.shade(
            frame.albedo,
            frame.xyz @ pose[:3, :3].T + pose[:3, 3],
            frame.normal @ pose[:3, :3].T,
            self.gloss[frame.body],
            pose[:3, 3],
            shadows,
        )
        color, depth = CAMERA.capture(linear, frame.xyz[..., 2], 1.0 + 0.03 * np.sin(9 * time), rng)
        name = str(frame.index)
        Image.fromarray(color).save(scene / "JPEGImages" / f"{name}.jpg", quality=93)
        write_image(scene / "depth" / f"{name}.png", depth)
        write_image(scene / "masks" / f"{name}.png", frame.body == 0)

    def _poses_in_world(self, time: float | None) -> list[np.ndarray]:
        """Poses in the world of all bodies, and of the spoon while it is in sight."""
        placed = [body.in_world for body in self.bodies]
        occluder = None if time is None else spoon_in_world(time)
        return placed if occluder is None else [*placed, occluder]

    def _depth_from(self, camera: np.ndarray, K: np.ndarray, size: int, time: float | None) -> np.ndarray:
        poses_in_world = self._poses_in_world(time)
        poses = torch.from_numpy(np.linalg.inv(camera) @ np.stack(poses_in_world)).float()
        seen = self.renderer.render(
            poses,
            torch.from_numpy(K).float(),
            (size, size),
            mesh_index=torch.arange(len(poses_in_world)),
            image_index=torch.zeros(len(poses_in_world), dtype=torch.int64),
        )
        return seen.depth[0].numpy().copy()


if __name__ == "__main__":
    import tyro

    def main(folder: Path = SCENES / AVOCADO, frames: int = FRAMES, overwrite: bool = False) -> None:
        """Make the avocado scene, where it is not there yet."""
        print(make_avocado_scene(folder, frames, overwrite=overwrite))

    sys.exit(run_command(lambda: tyro.cli(main)))
