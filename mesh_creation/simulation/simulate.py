"""Simulated recordings of a mesh on a board, with ground truth: for tests, and for people without a camera.

    python -m mesh_creation simulate --mesh cup.obj --out scan

The folder has the capture layout, board.json and recording.json as `record` writes them, and truth/, which no step of
the scan reads: camera_in_board.npy (N, 4, 4), object_in_board.npy (4, 4) and the mesh. The same settings give the same
recording; one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path as File
from typing import Any, Literal

import cv2
import numpy as np
import torch
from tqdm import tqdm

from mesh_creation.board.layout import Board, default_board, save_board
from mesh_creation.simulation.motion import CameraMotion, Tremor, rotation_z, sample_frame_numbers
from mesh_creation.simulation.room import Room, make_room
from pose6d.camera_simulation.frozen.stereo_camera import StereoCamera
from pose6d.camera_simulation.motion_blur import blur_by_motion, image_motion
from pose6d.errors import OutputError, SceneError, as_whole_number
from pose6d.geometry.masks import mask_window
from pose6d.json_file import write_json
from pose6d.mesh.coordinates import Unit
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh, save_mesh
from pose6d.rendering import ALBEDO, make_renderer
from pose6d.scenes.images import write_picture

VERSION = 2  # of what the same settings look like
_MADE_BY = "mesh_creation.simulator"  # in files of recordings, also of earlier ones
_KEY_LIGHT = np.array([-0.45, -0.35, 0.82])  # towards it, world
_PAPER_GAP = 0.0002  # metres between the paper and the object, so that no faces coincide


@dataclass(frozen=True)
class Simulation:
    """A recording to simulate."""

    kind: Literal["handheld", "turntable"] = "handheld"
    """handheld: the camera is carried around the board; turntable: the board turns, camera and room stand still"""
    frames: int = 240
    """how many frames the recording keeps"""
    seed: int = 0
    """of the path, the room and all noise"""
    flipped: bool = False
    """the object stands upside down, for a second recording that shows its underside"""
    seconds: float = 28.0
    """how long the recording takes; with fewer frames it has fewer per second, not a faster hand"""
    tremor: float = 1.0
    """of the hand: 1 is about 1.2 mm and 0.3 degrees"""
    lost: float = 0.04
    """share of the frames that the recorder loses, singly and in gaps"""
    exposure_change: float = 0.15
    """how much brightness drifts, of 1"""
    markerless: float = 0.0
    """share of the frames on which no marker can be read, in three stretches"""
    duplicate_markers: bool = False
    """two more markers with numbers of the board lie beside it"""
    stated_depth_scale: float = 1.0
    """factor by which intrinsics.json misstates the depth scale"""
    nudge_at: float | None = None
    """share of the recording after which the object is pushed: 12 mm and 10 degrees on the board"""
    board: Board = field(default_factory=default_board)
    """what the object stands on"""
    camera: StereoCamera = field(default_factory=StereoCamera)
    """the camera and its noise"""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(Simulation):
    """Simulate a recording of a mesh on a board, with ground truth in truth/."""

    mesh: File
    """the object, z up: obj, ply, glb, gltf or stl"""
    out: File
    """the folder to make"""
    unit: Unit = "m"
    """of the mesh's file"""


def main(options: SimulateOptions) -> None:
    """Simulate, and say where."""
    simulation = Simulation(**{field.name: getattr(options, field.name) for field in fields(Simulation)})
    print(simulate(load_mesh(options.mesh, options.unit), options.out, simulation))


def simulate(mesh: Mesh, folder: str | os.PathLike[str], simulation: Simulation, *, progress: bool = True) -> File:
    """Make a recording, or keep the one that is there.

    Args:
        mesh: the object in metres; its z axis is up, and it is set onto the board.
        folder: where to.
        simulation: what to record.
        progress: show a progress bar.

    Returns:
        The folder. It appears when the recording is complete; until then its files lie in `<folder>.partial`.

    Raises:
        OutputError: the folder holds something else, or a recording of other settings.
        SceneError: the settings make no sense, or the object is larger than the board.
    """
    folder = File(folder)
    simulator = _Simulator(mesh, simulation)
    settings = _settings(mesh, simulation)
    if folder.exists() and any(folder.iterdir()):
        if _read_settings(folder) != settings:
            raise OutputError(f"{folder} is not empty and holds no recording of these settings: choose another folder")
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.exists() and _read_settings(partial) != settings:
        if _read_settings(partial) is None:
            raise OutputError(f"{partial} is in the way and was not made by the simulator: move it away")
        shutil.rmtree(partial)  # begun with other settings
    for name in ("JPEGImages", "depth", "truth"):
        (partial / name).mkdir(parents=True, exist_ok=True)
    write_json(partial / "truth" / "truth.json", settings)
    simulator.write_recording(partial)
    for index in tqdm(range(simulation.frames), desc="simulating", unit="frame", disable=not progress):
        color_file, depth_file = partial / "JPEGImages" / f"{index}.jpg", partial / "depth" / f"{index}.png"
        if color_file.exists() and depth_file.exists():
            continue
        color, depth = simulator.capture(index)
        write_picture(color_file, color)
        write_picture(depth_file, depth)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return folder


class _Simulator:
    """The room with the object, the path through it and the camera."""

    def __init__(self, mesh: Mesh, simulation: Simulation) -> None:
        _check(mesh, simulation)
        self.mesh, self.simulation, self.camera = mesh, simulation, simulation.camera
        rng = np.random.default_rng([VERSION, simulation.seed, simulation.flipped])
        turntable = simulation.kind == "turntable"
        self.room: Room = make_room(simulation.board, rng, turntable=turntable, duplicates=simulation.duplicate_markers)
        self.object_in_board = _place_on_board(mesh, rng, simulation.flipped)
        numbers = sample_frame_numbers(simulation.frames, simulation.lost, rng)
        self.seconds = numbers * simulation.seconds / (numbers[-1] + 1)
        height = float(np.ptp(mesh.vertices @ self.object_in_board[:3, :3].T[:, 2]))
        self.path = CameraMotion(
            turntable=turntable,
            seconds=simulation.seconds,
            target=np.array([0, 0, min(0.45 * height, 0.08)]),
            distance=max(0.40, 0.20 + 2.0 * mesh.diameter),
            start=float(rng.uniform(0, 2 * np.pi)),
            tremor=Tremor.sample(rng, *(simulation.tremor * (0.15 if turntable else 1.0) * np.array([0.0012, 0.005]))),
        )
        self.bias = self.camera.draw_bias(rng)
        self.gain_phase = rng.uniform(0, 2 * np.pi, 5)
        self.renderer = make_renderer([*self.room.meshes, mesh], "cpu")
        self.moves_with_board = np.array([*self.room.turns, True])
        share = (np.arange(simulation.frames) + 0.5) / simulation.frames
        from_middle = np.abs(share * 3 % 1 - 0.5)  # of the stretch in its third of the recording
        unreadable = np.argsort(from_middle, kind="stable")[: round(simulation.markerless * simulation.frames)]
        self.unreadable = set(unreadable.tolist())

    def object_at(self, index: int) -> np.ndarray:
        """Object in board, (4, 4), at a frame."""
        nudge_at = self.simulation.nudge_at
        if nudge_at is None or index < nudge_at * self.simulation.frames:
            return self.object_in_board
        push = rotation_z(np.deg2rad(10))
        push[0, 3] = 0.012
        return push @ self.object_in_board

    def write_recording(self, folder: File) -> None:
        """Everything but the frames."""
        s, camera = self.simulation, self.camera
        save_board(s.board, folder / "board.json")
        stated = replace(camera, depth_scale=camera.depth_scale * s.stated_depth_scale)
        write_json(folder / "intrinsics.json", stated.intrinsics())
        recording = {"kind": s.kind, "source": f"simulated {self.mesh.name}", "fps": round(s.frames / s.seconds, 3)}
        recording["timestamps"] = [round(float(t), 6) for t in self.seconds]
        write_json(folder / "recording.json", recording)
        cameras = [
            np.linalg.inv(self.path.board_in_world(t)) @ self.path.camera_in_world(t) for t in self.seconds.tolist()
        ]
        np.save(folder / "truth" / "camera_in_board.npy", np.stack(cameras))
        objects = np.stack([self.object_at(index) for index in range(s.frames)])
        np.save(folder / "truth" / "object_in_board.npy", objects[0] if s.nudge_at is None else objects)
        save_mesh(self.mesh, folder / "truth" / "mesh" / "object.obj")

    def capture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) uint8 and depth (H, W) uint16 of one frame, as the camera reports them."""
        s, camera, K = self.simulation, self.camera, self.camera.K
        rng = np.random.default_rng([VERSION, s.seed, s.flipped, index])
        time = float(self.seconds[index])
        poses, drawn = self._mesh_poses(index, time)
        color, xyz, normal, instance = self._render(poses, drawn, K, camera.size, normals=True)
        moving = self.moves_with_board[drawn[np.maximum(instance, 0)]] & (instance >= 0)
        linear = color * color
        self._smooth_edges(linear, moving, poses, drawn)
        world_in_camera = np.linalg.inv(self.path.camera_in_world(time))
        light = (world_in_camera[:3, :3] @ (_KEY_LIGHT / np.linalg.norm(_KEY_LIGHT))).astype(np.float32)
        up = world_in_camera[:3, 2].astype(np.float32)
        shade = 0.36 + 0.12 * (normal @ up) + 0.52 * np.maximum(normal @ light, 0)
        linear *= shade[..., None]

        end = time + camera.exposure / 2
        flow = image_motion(xyz, self._motion(time, end, with_board=False), K)
        if self.path.turntable:
            flow = np.where(moving[..., None], image_motion(xyz, self._motion(time, end, with_board=True), K), flow)
        return camera.capture(blur_by_motion(linear, flow), xyz[..., 2], self._gain(time), rng, self.bias)

    def _smooth_edges(self, linear: np.ndarray, wanted: np.ndarray, poses: np.ndarray, drawn: np.ndarray) -> None:
        """Draw the window around `wanted` (H, W) again with 2 x 2 samples a pixel, into `linear` (H, W, 3)."""
        if not wanted.any():
            return
        window = mask_window(wanted, margin=2)
        (height, width), top, left = linear[window].shape[:2], window[0].start, window[1].start
        # A pixel's centre, an integer, lies between the centres 2u and 2u + 1 of its halves.
        to_halves = np.array([[2.0, 0, 0.5 - 2 * left], [0, 2.0, 0.5 - 2 * top], [0, 0, 1]])
        fine, _, _, _ = self._render(poses, drawn, to_halves @ self.camera.K, (2 * height, 2 * width), normals=False)
        # Averaged as light, not as code values, or edges would come out too dark.
        linear[window] = cv2.resize(fine * fine, (width, height), interpolation=cv2.INTER_AREA)

    def _mesh_poses(self, index: int, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Poses in the camera (M, 4, 4) and mesh numbers (M,) of what is to be drawn."""
        board = self.path.board_in_world(time)
        placed = [
            board @ pose if turns else pose for pose, turns in zip(self.room.in_world, self.room.turns, strict=True)
        ]
        placed.append(board @ self.object_at(index))
        hidden = 0 if index in self.unreadable else 1  # the board, or the blank sheet that may replace it
        shown = np.array([i for i in range(len(placed)) if i != hidden])
        return np.linalg.inv(self.path.camera_in_world(time)) @ np.stack(placed)[shown], shown

    def _motion(self, time: float, end: float, *, with_board: bool) -> np.ndarray:
        """(4, 4) that moves camera-space points of the room, or of the board, from `time` to `end`."""

        def in_camera(t: float) -> np.ndarray:
            body = self.path.board_in_world(t) if with_board else np.eye(4)
            return np.linalg.inv(self.path.camera_in_world(t)) @ body

        return in_camera(end) @ np.linalg.inv(in_camera(time))

    def _gain(self, time: float) -> np.ndarray:
        """(3,) brightness of the channels: automatic exposure and white balance never quite rest."""
        change, phase = self.simulation.exposure_change, self.gain_phase
        brightness = 1.0 + change * (0.7 * np.sin(0.9 * time + phase[0]) + 0.3 * np.sin(2.3 * time + phase[1]))
        return brightness * (1 + 0.2 * change * np.sin(0.5 * time + phase[2:5]))

    def _render(
        self, poses: np.ndarray, drawn: np.ndarray, K: np.ndarray, size: tuple[int, int], normals: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        seen = self.renderer.render(
            torch.from_numpy(poses).float(),
            torch.from_numpy(K).float(),
            size,
            mesh_index=torch.from_numpy(drawn),
            image_index=torch.zeros(len(drawn), dtype=torch.int64),
            shading=ALBEDO,
            normals=normals,
        )
        normal = np.zeros(0) if seen.normal is None else seen.normal[0].numpy()
        return seen.color[0].numpy(), seen.xyz[0].numpy(), normal, seen.instance[0].numpy()


def _check(mesh: Mesh, simulation: Simulation) -> None:
    if simulation.kind not in ("handheld", "turntable"):
        raise SceneError(f"kind {simulation.kind!r} is unknown: wanted handheld or turntable")
    if simulation.frames < 1 or simulation.seconds <= 0 or not 0 <= simulation.lost < 0.9:
        raise SceneError(
            f"frames {simulation.frames}, seconds {simulation.seconds:g}, lost {simulation.lost:g}: wanted at least "
            "one frame, a positive duration, and less than 0.9 lost"
        )
    as_whole_number(simulation.seed, "seed", least=0)
    width, height = simulation.board.size
    if not width:
        raise SceneError("the board's places are not known, so that it cannot be printed: choose another kind")
    if mesh.diameter > np.hypot(width, height):
        raise SceneError(
            f"mesh {mesh.name!r} is {mesh.diameter:.3g} m across, the board {width:.3g} m by {height:.3g} m: the "
            "object would hide all markers. Is the mesh in metres?"
        )


def _place_on_board(mesh: Mesh, rng: np.random.Generator, flipped: bool) -> np.ndarray:
    """Object in board (4, 4): upright or upside down, turned about z, its box's middle above the board's origin."""
    pose = rotation_z(rng.uniform(0, 2 * np.pi))
    if flipped:
        pose = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
    points = mesh.vertices.astype(np.float64) @ pose[:3, :3].T
    low, high = points.min(axis=0), points.max(axis=0)
    pose[:3, 3] = [*(-(low + high)[:2] / 2), _PAPER_GAP - low[2]]
    return pose


def _settings(mesh: Mesh, simulation: Simulation) -> dict[str, Any]:
    values = {"made_by": _MADE_BY, "version": VERSION, "mesh": mesh.name}
    values |= {"diameter": round(mesh.diameter, 6), "faces": len(mesh.faces), **asdict(simulation)}
    return json.loads(json.dumps(values))  # as it will be read back: tuples become lists


def _read_settings(folder: File) -> dict[str, Any] | None:
    try:
        values = json.loads((folder / "truth" / "truth.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.get("made_by") == _MADE_BY else None
