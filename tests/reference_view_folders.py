"""Views of an object for tests of what is made from them: rendered, noisy, in every layout that is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from mesh_creation.reference_views.view import ReferenceView
from pose6d.geometry.transforms import look_at
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, make_renderer
from pose6d.scenes.images import write_depth, write_image
from tests.mesh_creation_scans import block

HEIGHT, WIDTH = 120, 160
K = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])


def around(count: int, distance: float = 0.35, seed: int = 0) -> list[np.ndarray]:
    """Cameras (4, 4) that look at the object's middle from all sides, evenly."""
    rng, golden = np.random.default_rng(seed), np.pi * (3 - np.sqrt(5))
    poses = []
    for i in range(count):
        z = 0.9 * (1 - 2 * (i + 0.5) / count)
        side = np.sqrt(1 - z * z)
        eye = distance * rng.uniform(0.85, 1.2) * np.array([side * np.cos(golden * i), side * np.sin(golden * i), z])
        poses.append(look_at(eye, np.zeros(3)))
    return poses


def render_views(
    poses: Sequence[np.ndarray],
    mesh: Mesh | None = None,
    *,
    bleed: int = 0,
    noise: float = 0.0,
    wall: float = 0.0,
    rotation_off: float = 0.0,
    position_off: float = 0.0,
    seed: int = 0,
) -> list[ReferenceView]:
    """Pictures of a mesh (else of the house, centred) from cameras (4, 4).

    Args:
        poses: of the cameras in the object's frame.
        mesh: metres.
        bleed: pixels by which masks reach beyond the object.
        noise: metres of standard deviation of depth.
        wall: metres of depth behind the object; 0 for none measured.
        rotation_off, position_off: degrees and metres by which the poses that views state are off.
        seed: of all that is random.
    """
    mesh = block().centered() if mesh is None else mesh
    renderer, rng, views = make_renderer(mesh, "cpu"), np.random.default_rng(seed), []
    for number, pose in enumerate(poses):
        object_in_camera = torch.from_numpy(np.linalg.inv(pose)[None]).float()
        drawn = renderer.render(object_in_camera, torch.from_numpy(K).float(), (HEIGHT, WIDTH), shading=ALBEDO)
        mask, depth = drawn.mask[0].numpy(), drawn.depth[0].numpy()
        depth = np.where(mask, depth, wall)
        depth = np.where(depth > 0, depth + rng.normal(0, noise, depth.shape), 0).astype(np.float32)
        if bleed:
            mask = cv2.dilate(mask.astype(np.uint8), np.ones((2 * bleed + 1, 2 * bleed + 1), np.uint8)) > 0
        off = np.eye(4)
        axis, shift = rng.normal(size=3), rng.normal(size=3)
        off[:3, :3] = cv2.Rodrigues(np.radians(rotation_off) * axis / np.linalg.norm(axis))[0]
        off[:3, 3] = position_off * shift / np.linalg.norm(shift)
        rgb = np.rint(255 * drawn.color[0].numpy()).astype(np.uint8)
        views.append(ReferenceView(f"view_{number:02d}", rgb, depth, mask, K.copy(), pose @ off))
    return views


def write_reference_folder(folder: Path, views: Sequence[ReferenceView], masks: str = "mask") -> Path:
    """The published layout; views are named 1, 2, ... 10, ... without leading zeros."""
    (folder / "cam_in_ob").mkdir(parents=True)
    for number, view in enumerate(views, 1):
        write_image(folder / "rgb" / f"{number}.png", view.rgb)
        write_depth(folder / "depth_enhanced" / f"{number}.png", view.depth)
        write_image(folder / masks / f"{number}.png", view.mask)
        np.savetxt(folder / "cam_in_ob" / f"{number}.txt", view.camera_in_object)
    np.savetxt(folder / "K.txt", K)
    (folder / "select_frames.yml").write_text("- 1\n")
    return folder


def write_capture(folder: Path, views: Sequence[ReferenceView], masks: str = "masks") -> Path:
    """Our capture layout with transforms.npy and masks."""
    for number, view in enumerate(views):
        write_image(folder / "JPEGImages" / f"{number:04d}.png", view.rgb)
        write_depth(folder / "depth" / f"{number:04d}.png", view.depth)
        write_image(folder / masks / f"{number:04d}.png", view.mask)
    np.save(folder / "transforms.npy", np.stack([view.camera_in_object for view in views]))
    camera = {"fx": K[0, 0], "fy": K[1, 1], "ppx": K[0, 2], "ppy": K[1, 2], "width": WIDTH, "height": HEIGHT}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return folder


def write_onboarding(folder: Path, views: Sequence[ReferenceView], obj_id: int = 1) -> Path:
    """One scene of a static onboarding in BOP format."""
    cameras, truths = {}, {}
    for number, view in enumerate(views):
        write_image(folder / "rgb" / f"{number:06d}.png", view.rgb)
        write_depth(folder / "depth" / f"{number:06d}.png", view.depth)
        write_image(folder / "mask_visib" / f"{number:06d}_000000.png", view.mask)
        pose = np.linalg.inv(view.camera_in_object)
        cameras[str(number)] = {"cam_K": view.K.ravel().tolist(), "depth_scale": 1.0}
        rotation, translation = pose[:3, :3].ravel().tolist(), (1000 * pose[:3, 3]).tolist()
        truths[str(number)] = [{"obj_id": obj_id, "cam_R_m2c": rotation, "cam_t_m2c": translation}]
    (folder / "scene_camera.json").write_text(json.dumps(cameras))
    (folder / "scene_gt.json").write_text(json.dumps(truths))
    return folder


def write_list(file: Path, views: Sequence[ReferenceView]) -> Path:
    """A JSON file that lists the files of each view; poses by turns in each form that is read."""
    listed = []
    for number, view in enumerate(views):
        entry: dict[str, object] = {
            "color": f"color/{number}.png",
            "depth": f"z/{number}.png",
            "mask": f"m/{number}.png",
        }
        write_image(file.parent / "color" / f"{number}.png", view.rgb)
        write_depth(file.parent / "z" / f"{number}.png", view.depth)
        write_image(file.parent / "m" / f"{number}.png", view.mask)
        entry["mask"] = f"m/{number}.png"
        if number % 3 == 0:
            entry["camera_in_object"] = view.camera_in_object.tolist()
        elif number % 3 == 1:
            entry["object_in_camera"] = np.linalg.inv(view.camera_in_object).tolist()
        else:
            np.savetxt(file.parent / f"pose_{number}.txt", view.camera_in_object)
            entry |= {"camera_in_object": f"pose_{number}.txt", "K": view.K.tolist()}
        listed.append(entry)
    np.savetxt(file.parent / "K.txt", K)
    file.write_text(json.dumps({"camera": "K.txt", "views": listed}))
    return file
