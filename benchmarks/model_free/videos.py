"""Simulated videos of an object without markers: the camera goes round it, or a hand moves it before the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from learning.datasets.objects.hands import make_hand
from mesh_creation.board.layout import default_board
from mesh_creation.simulation.motion import CameraMotion, Tremor, rotation_z
from mesh_creation.simulation.room import make_room
from pose6d.camera_simulation.frozen.stereo_camera import StereoCamera
from pose6d.camera_simulation.motion_blur import blur_by_motion, image_motion
from pose6d.geometry.transforms import look_at, rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, make_renderer
from pose6d.scenes.frame import Frame

_AROUND, _HELD_FOR = (200, 28.0), (300, 10.0)  # frames and seconds of a video
_LIGHT = np.array([-0.45, -0.35, 0.82])  # towards it, world
_HAND = 0.19  # metres, its diameter
_SLIP = 4.0, 0.004  # degrees and metres by which it slips on the object at most
_HELD = np.array([0.0, 0.0, 0.28])  # metres, world: where a hand moves the object about
_NO_MARKERS = 2  # first meshes of the room, which are the board


@dataclass(frozen=True)
class Video:
    """What a tracker gets, and what is true.

    Attributes:
        name: for people.
        mesh: the object, metres.
        frames: each with the truth, and the mask of what is to be seen; a tracker gets that of the first alone.
    """

    name: str
    mesh: Mesh
    frames: list[Frame]


def film_around(mesh: Mesh, seed: int, shown: int | None = None) -> Video:
    """A camera is carried about twice around an object that stands on a table, in a room without markers.

    Args:
        mesh: the object, z up, metres.
        seed: of the path, the room and all noise.
        shown: how many frames are filmed; the whole way if omitted.
    """
    rng = np.random.default_rng([seed, 0xA0])
    pose = rotation_z(rng.uniform(0, 2 * np.pi))
    points = mesh.vertices @ pose[:3, :3].T
    low, high = points.min(axis=0), points.max(axis=0)
    pose[:3, 3] = [*(-(low + high)[:2] / 2), -low[2] + 0.0002]
    path = CameraMotion(
        turntable=False,
        seconds=_AROUND[1],
        target=np.array([0, 0, min(0.45 * (high - low)[2], 0.08)]),
        distance=max(0.40, 0.20 + 2.0 * mesh.diameter),
        start=float(rng.uniform(0, 2 * np.pi)),
        tremor=Tremor.sample(rng, 0.0012, 0.005),
    )
    times = _times(*_AROUND)[:shown]
    cameras = np.stack([path.camera_in_world(t) for t in times])
    studio = _Studio(rng, [mesh])
    return Video(f"around {mesh.name}", mesh, studio.film(cameras, pose[None, None].repeat(len(times), 0), times))


def film_held(mesh: Mesh, seed: int, shown: int | None = None) -> Video:
    """A hand moves and turns an object before a camera that stands still: up to 12 cm and 100 degrees to all sides.

    The hand slips a little. Arguments as of `film_around`.
    """
    rng = np.random.default_rng([seed, 0xB0])
    times = _times(*_HELD_FOR)[:shown]
    eye = np.array([0.0, -max(0.42, 0.2 + 2.0 * mesh.diameter), _HELD[2] + 0.12])
    camera = look_at(eye, _HELD)
    start = cv2.Rodrigues(rng.normal(0, 1, 3))[0]
    frequency, phase = rng.uniform(0.08, 0.22, 6), rng.uniform(0, 2 * np.pi, 6)
    sway = np.sin(2 * np.pi * frequency * times[:, None] + phase) - np.sin(phase)
    tremor = Tremor.sample(rng, 0.0015, 0.008)
    poses = np.tile(np.eye(4), (len(times), 2, 1, 1))
    for i, (move, time) in enumerate(zip(sway, times, strict=True)):
        shaken = tremor(time)
        turn = cv2.Rodrigues(np.radians([50.0, 50.0, 80.0]) * move[3:])[0]
        poses[i, 0, :3, :3] = turn @ start @ shaken[:3, :3]
        poses[i, 0, :3, 3] = _HELD + move[:3] * [0.05, 0.06, 0.04] + shaken[:3, 3]
    hand, hand_in_object = _grasp(mesh, camera, poses[0, 0], rng)
    for pose, time in zip(poses, times, strict=True):  # the grip is not quite firm
        turned = cv2.Rodrigues(np.radians(_SLIP[0]) * np.sin([0.9 * time, 1.3 * time, 0.7 * time]))[0]
        moved = _SLIP[1] * np.sin([1.1 * time, 0.8 * time, 1.4 * time])
        pose[1] = pose[0] @ rigid_transform(turned, moved) @ hand_in_object
    studio = _Studio(rng, [mesh, hand])
    return Video(f"held {mesh.name}", mesh, studio.film(np.tile(camera, (len(times), 1, 1)), poses, times))


def _times(frames: int, seconds: float) -> np.ndarray:
    return np.arange(frames) * seconds / frames


def _grasp(mesh: Mesh, camera: np.ndarray, pose: np.ndarray, rng: np.random.Generator) -> tuple[Mesh, np.ndarray]:
    """A hand, and its pose (4, 4) in the object, that touches the object from below, as the camera sees it."""
    whole = next(hand for hand in map(make_hand, rng.integers(0, 10000, 50)) if np.ptp(hand.vertices, axis=0)[2] > 0.8)
    hand = whole.scaled(_HAND)
    down = (np.linalg.inv(pose) @ camera)[:3, :3] @ np.array([rng.uniform(-0.6, 0.6), 1.0, rng.uniform(-0.1, 0.5)])
    down /= np.linalg.norm(down)
    turned = np.eye(4)
    # The hand's fingers point along its z, towards the object.
    turned[:3, 2] = -down
    turned[:3, 0] = np.cross(down, rng.normal(size=3))
    turned[:3, 0] /= np.linalg.norm(turned[:3, 0])
    turned[:3, 1] = np.cross(turned[:3, 2], turned[:3, 0])
    tree, points = cKDTree(mesh.sample_surface(3000)), hand.vertices @ turned[:3, :3].T
    for distance in np.arange(mesh.diameter + _HAND, 0.0, -0.004):
        if tree.query(points + distance * down)[0].min() < 0.003:
            break
    turned[:3, 3] = (distance - 0.008) * down
    return hand, turned


class _Studio:
    """The room, what moves in it, and the camera."""

    def __init__(self, rng: np.random.Generator, moving: list[Mesh]) -> None:
        room = make_room(default_board(), rng, turntable=False, duplicates=False)
        self.still = np.stack(room.in_world[_NO_MARKERS:])
        self.renderer = make_renderer([*room.meshes[_NO_MARKERS:], *moving], "cpu")
        self.camera = StereoCamera()
        self.bias = self.camera.draw_bias(rng)
        self.gain_phase = rng.uniform(0, 2 * np.pi, 5)
        self.rng = rng

    def film(self, cameras: np.ndarray, poses: np.ndarray, times: np.ndarray) -> list[Frame]:
        """Frames of cameras (F, 4, 4) and moving meshes (F, M, 4, 4) in the world; the first of them is the object."""
        ahead = [*range(1, len(times)), len(times) - 1]
        moved = np.linalg.inv(cameras)[:, None] @ poses
        frames = []
        for i, time in enumerate(times):
            share = self.camera.exposure / 2 / (times[1] - times[0])
            color, depth, mask = self._take(
                cameras[i], poses[i], self._partway(moved[i], moved[ahead[i]], share), float(time)
            )
            metres = depth.astype(np.float32) * np.float32(self.camera.depth_scale)
            frames.append(Frame(f"{i:04d}", color, metres, self.camera.K, mask, moved[i, 0], float(time)))
        return frames

    def _partway(self, now: np.ndarray, then: np.ndarray, share: float) -> np.ndarray:
        """(M, 4, 4) motions of meshes in the camera over a share of the way between two frames."""
        motions = np.tile(np.eye(4), (len(now), 1, 1))
        for motion, a, b in zip(motions, now, then, strict=True):
            whole = b @ np.linalg.inv(a)
            motion[:3, :3] = cv2.Rodrigues(cv2.Rodrigues(whole[:3, :3])[0] * share)[0]
            motion[:3, 3] = a[:3, 3] + share * (b[:3, 3] - a[:3, 3]) - motion[:3, :3] @ a[:3, 3]
        return motions

    def _take(
        self, camera: np.ndarray, moving: np.ndarray, motions: np.ndarray, time: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        world = np.linalg.inv(camera)
        poses = world @ np.concatenate([self.still, moving])
        index = torch.arange(len(poses))
        seen = self.renderer.render(
            torch.from_numpy(poses).float(),
            torch.from_numpy(self.camera.K).float(),
            self.camera.size,
            mesh_index=index,
            image_index=torch.zeros(len(poses), dtype=torch.int64),
            shading=ALBEDO,
            normals=True,
        )
        assert seen.normal is not None
        color, normal, xyz = seen.color[0].numpy(), seen.normal[0].numpy(), seen.xyz[0].numpy()
        instance = seen.instance[0].numpy()
        light = (world[:3, :3] @ (_LIGHT / np.linalg.norm(_LIGHT))).astype(np.float32)
        shade = 0.36 + 0.12 * (normal @ world[:3, 2].astype(np.float32)) + 0.52 * np.maximum(normal @ light, 0)
        flow = np.zeros((*instance.shape, 2), np.float32)
        for k, motion in enumerate(motions):
            on_it = instance == len(self.still) + k
            flow = np.where(on_it[..., None], image_motion(xyz, motion, self.camera.K), flow)
        blurred = blur_by_motion(color * color * shade[..., None], flow)
        picture, depth = self.camera.capture(blurred, xyz[..., 2], self._gain(time), self.rng, self.bias)
        return picture, depth, instance == len(self.still)

    def _gain(self, time: float) -> np.ndarray:
        """(3,) brightness of the channels: automatic exposure and white balance never quite rest."""
        brightness = 1.0 + 0.15 * (
            0.7 * np.sin(0.9 * time + self.gain_phase[0]) + 0.3 * np.sin(2.3 * time + self.gain_phase[1])
        )
        return brightness * (1 + 0.03 * np.sin(0.5 * time + self.gain_phase[2:5]))
