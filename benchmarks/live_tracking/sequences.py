"""Sequences to follow an object through: it is moved by hand, leaves the picture, is hidden, or moves fast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.accuracy.scenes import ScenePool
from benchmarks.accuracy.suites import IMAGE_SIZE, INTRINSICS, SUITES
from pose6d.errors import SceneError
from pose6d.geometry.masks import mask_window
from pose6d.geometry.transforms import make_transform, random_rotations, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.units import resolve_unit
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import ALBEDO, Shading
from pose6d.scenes import open_scene
from pose6d.scenes.folder import read_matrix
from pose6d.scenes.frame import Frame

Kind = Literal["leaves", "hidden", "fast"]
LENGTHS: dict[Kind, int] = {"leaves": 90, "hidden": 75, "fast": 61}
_GONE = 30, 60  # frames between which an object that leaves moves out, and in elsewhere
_STEPS = 4  # frame steps of fast sequences
_FPS = 30.0
_HALF, _WHOLLY = (10, 40), (40, 55)  # frames of the real sequence in which the object is half and wholly hidden
_SMALLER = 4  # times, the picture in which silhouettes that reach beyond the border are counted
_NEARER = 0.05  # metres between the painted occluder and the nearest point of the object


@dataclass(frozen=True)
class LiveSequence:
    """What the tracker gets, and what is true.

    Attributes:
        name: for people.
        mesh: of the object, metres.
        frames: with masks of what is to be seen of the object, of which the tracker gets the first alone; each with the
            truth, None where the object is not in the picture or the truth unknown.
        visible: (F,) share of the object's silhouette that can be seen, 0 where it is outside the picture.
    """

    name: str
    mesh: Mesh
    frames: list[Frame]
    visible: np.ndarray

    def every(self, step: int) -> LiveSequence:
        """The same with so many times the motion between frames."""
        return replace(self, frames=self.frames[::step], visible=self.visible[::step])


def simulate(pool: ScenePool, meshes: list[Mesh], kind: Kind, seed: int, index: int) -> LiveSequence:
    """Sequence number `index` of a kind, of an object of the pool in front of others that stand still."""
    suite = SUITES["tracking"]
    assert suite.noise is not None
    target = index % len(meshes)
    rng = np.random.default_rng([seed, ["leaves", "hidden", "fast"].index(kind), index])
    K = torch.tensor([[INTRINSICS[0], 0, INTRINSICS[2]], [0, INTRINSICS[1], INTRINSICS[3]], [0, 0, 1.0]])
    poses = _hand_motion(rng, kind)
    around, others = _surroundings(rng, pool, target, float(poses[:, 2, 3].max()))
    shading = Shading(ambient=float(rng.uniform(0.4, 0.8)), headlight=float(rng.uniform(0.2, 0.6)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    occluder = pool.meshes.objects + int(rng.integers(pool.meshes.planes))
    frames, visible = [], []
    for i, pose in enumerate(poses):
        things, meshes_shown = [pose[None], around], [torch.tensor([target]), others]
        if kind == "hidden" and (crossing := _crossing(i, pose)) is not None:
            things.append(crossing[None])
            meshes_shown.append(torch.tensor([occluder]))
        drawn = pool.draw(K, torch.cat(things), torch.cat(meshes_shown), shading)
        alone = pool.draw(K, pose[None], torch.tensor([target]))
        shown = drawn.instance[0] == 0
        whole = _whole_silhouette(pool, K, pose, target)
        visible.append(min(float(shown.sum()) / max(whole, 1), 1.0))
        colors, depths = suite.noise.capture(drawn.color.permute(0, 3, 1, 2), drawn.depth, generator)
        frames.append(
            Frame(
                f"{i:04d}",
                (colors[0].permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy(),
                (depths[0] * pool.diameters[target]).numpy(),
                K.double().numpy(),
                shown.numpy(),
                pool.in_metres(pose.numpy(), target) if alone.mask.any() else None,
                i / _FPS,
            )
        )
    return LiveSequence(f"{kind} {index} {meshes[target].name}", meshes[target], frames, np.array(visible))


def real_with_occluder(folder: Path) -> LiveSequence:
    """A real recording with true poses in which something is painted in front of the object: half of it for 30 frames,
    then all of it for 15; then the recording goes on backwards, so that the object comes back elsewhere."""
    scene = open_scene(folder)
    if scene.mesh_file is None or len(scene) < _WHOLLY[1]:
        raise SceneError(f"{folder}: {len(scene)} frames; one mesh and {_WHOLLY[1]} frames with true poses are needed")
    mesh = load_mesh(scene.mesh_file)
    first = scene[0]
    if first.mask is None:
        raise SceneError(f"{folder}: its first frame has no mask; one of the object is needed")
    scale, _ = resolve_unit(mesh, "auto", first.depth, first.mask, first.K)
    mesh = mesh if scale == 1 else mesh.scaled(scale)
    renderer = make_renderer(mesh, "cpu")
    order = [*range(_WHOLLY[1]), *range(_HALF[1] - 10, -1, -1)]
    paint = np.random.default_rng(5).integers(60, 200, (8, 8, 3), dtype=np.uint8).repeat(80, 0).repeat(80, 1)
    frames, visible = [], []
    for i, index in enumerate(order):
        frame = scene[index]
        truth = read_matrix(folder / "poses" / f"{frame.name}.txt", (4, 4), "object_in_camera, 4x4 in metres")
        drawn = renderer.render(
            torch.as_tensor(truth, dtype=torch.float32)[None],
            torch.as_tensor(frame.K, dtype=torch.float32),
            frame.depth.shape,
        )
        silhouette = drawn.mask[0].numpy()
        covered = _cover(silhouette, i)
        frame.rgb = np.where(covered[..., None], paint[: covered.shape[0], : covered.shape[1]], frame.rgb)
        nearest = float(drawn.depth[0][drawn.mask[0]].min())
        frame.depth = np.where(covered, np.float32(nearest - _NEARER), frame.depth)
        visible.append(1.0 - (covered & silhouette).sum() / silhouette.sum())
        frames.append(
            replace(
                frame, object_in_camera=truth, seconds=i / _FPS, mask=frame.mask if i == 0 else silhouette & ~covered
            )
        )
    return LiveSequence(f"{folder.name}, painted occluder", mesh, frames, np.array(visible))


def real_as_it_is(folder: Path, loops: int = 1, jumps: bool = False) -> LiveSequence:
    """A real recording with true poses where it has them, so many times in a row: to and fro, so that all that happens
    between two frames did happen; or, with `jumps`, each time from the beginning, which no camera would show."""
    scene = open_scene(folder)
    if scene.mesh_file is None:
        raise SceneError(f"{folder}: one mesh is needed, found {len(scene.mesh_files)}")
    mesh, first = load_mesh(scene.mesh_file), scene[0]
    if first.mask is None:
        raise SceneError(f"{folder}: its first frame has no mask; one of the object is needed")
    scale, _ = resolve_unit(mesh, "auto", first.depth, first.mask, first.K)
    frames = []
    for frame in scene:
        file = folder / "poses" / f"{frame.name}.txt"
        truth = read_matrix(file, (4, 4), "object_in_camera, 4x4 in metres") if file.is_file() else None
        frames.append(replace(frame, object_in_camera=truth))
    back = frames if jumps else frames[-2:0:-1]
    order = [frame for loop in range(loops) for frame in (back if loop % 2 else frames)]
    frames = [replace(frame, seconds=i / _FPS) for i, frame in enumerate(order)]
    return LiveSequence(folder.name, mesh if scale == 1 else mesh.scaled(scale), frames, np.ones(len(frames)))


def _cover(silhouette: np.ndarray, index: int) -> np.ndarray:
    """(H, W) bool, where the occluder is painted in a frame."""
    covered = np.zeros_like(silhouette)
    _, tight = mask_window(silhouette)
    rows, columns = mask_window(silhouette, margin=(tight.stop - tight.start - 1) // 8)
    if _WHOLLY[0] <= index < _WHOLLY[1]:
        covered[rows, columns] = True
    elif _HALF[0] <= index < _HALF[1]:
        half = np.searchsorted(np.cumsum(silhouette.sum(axis=0)), silhouette.sum() / 2)
        covered[rows, columns.start : half] = True
    return covered


def _whole_silhouette(pool: ScenePool, K: torch.Tensor, pose: torch.Tensor, target: int) -> int:
    """Pixels of the object as if the picture were endless, counted in a smaller one."""
    height, width = (length // _SMALLER for length in IMAGE_SIZE)
    wide = K.clone()
    wide[:2, 2] += 0.5
    wide[:2] /= _SMALLER
    wide[:2, 2] += torch.tensor([width, height]) - 0.5
    drawn = pool.meshes.renderer.render(
        pose[None], wide, (3 * height, 3 * width), mesh_index=torch.tensor([target]), shading=ALBEDO
    )
    return int(drawn.mask.sum()) * _SMALLER**2


def _hand_motion(rng: np.random.Generator, kind: Kind) -> torch.Tensor:
    """(F, 4, 4) float32 in diameters: a smooth motion, and the ways out of the picture and back in.

    Fast ones move by up to 0.14 diameters and 10 degrees between frames, in the median by 0.08 and 7.
    """
    count = LENGTHS[kind]
    z = rng.uniform(5.2, 6.2)
    speed, reach = (1.6, 0.5) if kind == "fast" else (1.0, 1.0)
    time = np.arange(count) / _FPS
    waves = [(rng.uniform(0.3, 0.8) * speed, rng.uniform(0, 2 * np.pi)) for _ in range(6)]
    sway = np.stack([np.sin(2 * np.pi * f * time + p) for f, p in waves], axis=1)  # (F, 6)
    position = np.array([0.0, 0.0, z]) + reach * sway[:, :3] * (0.9, 0.6, 0.4)
    turns = torch.tensor(np.radians(3.5 * speed) * sway[:, 3:], dtype=torch.float32)
    rotation = random_rotations(1, torch.Generator().manual_seed(int(rng.integers(2**62))))[0]
    if kind == "leaves":
        out = _GONE[0] + 12
        back = _GONE[1] - 8
        side, other = rng.choice([-1.0, 1.0], 2)
        share = np.clip((np.arange(count) - _GONE[0]) / (out - _GONE[0]), 0, 1)
        home = np.clip((np.arange(count) - back) / (_GONE[1] - back + 4), 0, 1)
        away = 5.0 * np.where(np.arange(count) < (out + back) / 2, side * share**1.5, other * (1 - home) ** 1.5)
        position[:, 0] += away
    rotations = []
    for i, turn in enumerate(turns):
        rotation = so3_exp(turn[None])[0] @ rotation
        if kind == "leaves" and i == (_GONE[0] + _GONE[1]) // 2:
            rotation = random_rotations(1, torch.Generator().manual_seed(int(rng.integers(2**62))))[0]
        rotations.append(rotation)
    return make_transform(torch.stack(rotations), torch.tensor(position, dtype=torch.float32))


def _crossing(index: int, pose: torch.Tensor) -> torch.Tensor | None:
    """The pose of a board that crosses in front of the object, and stays there for some frames; planes have side 2."""
    begin, end = 20, 55
    if not begin <= index <= end:
        return None
    share = (index - begin) / (end - begin)
    offset = np.interp(share, [0.0, 0.35, 0.65, 1.0], [-2.2, 0.0, 0.0, 2.2])
    place = pose[:3, 3].clone()
    place = place * float((place[2] - 1.6) / place[2]) + torch.tensor([offset, 0.0, 0.0], dtype=torch.float32)
    turn = so3_exp(torch.tensor([[0.4, 0.3 - 0.6 * share, 0.2]]))[0]
    return make_transform(0.9 * turn, place)


def _surroundings(
    rng: np.random.Generator, pool: ScenePool, target: int, farthest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses (I, 4, 4), scale included, and meshes (I,) of three other objects, a table and a wall behind all that
    moves."""
    behind = farthest + 0.9
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rotations = random_rotations(5, generator)
    scales = torch.tensor(rng.uniform(0.6, 1.5, 5), dtype=torch.float32)
    depth = behind + rng.uniform(0.2, 1.5, 5)
    position = np.stack([rng.uniform(-0.35, 0.35, 5) * depth, rng.uniform(-0.25, 0.25, 5) * depth, depth], 1)
    rotations[3:] = so3_exp(torch.tensor([[1.25, 0.0, 0.0], [0.1, -0.1, 0.0]]))
    position[3], position[4] = [0.0, behind * 0.3 + 1.6, behind + 1.5], [0.0, 0.0, behind + 4.0]
    scales[3:] = torch.tensor([8.0, 14.0])
    others = np.delete(np.arange(pool.meshes.objects), target) if pool.meshes.objects > 1 else np.array([target])
    meshes = np.concatenate(
        [rng.choice(others, size=3), pool.meshes.objects + rng.integers(pool.meshes.planes, size=2)]
    )
    transform = make_transform(rotations * scales[:, None, None], torch.tensor(position, dtype=torch.float32))
    return transform, torch.from_numpy(meshes)
