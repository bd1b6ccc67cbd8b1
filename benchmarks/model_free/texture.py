"""How near the look of made meshes comes to that of the true ones, from sides that no view was taken from.

`python -m benchmarks.model_free.texture --mesh-folder MESHES --made made/around_16`

prints a table, with the meshes that `python -m benchmarks.model_free` has made. No network has a part in it.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.accuracy.objects import load_objects
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.geometry.rotation_grids import icosphere
from pose6d.geometry.transforms import random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.rendering import ALBEDO, make_renderer

_SIZE = 240  # pixels, of a square picture
_FILLED = 0.7  # of the picture's side that the object's diameter takes
_DISTANCE = 3.5  # diameters
_PICTURES = 12
_EDGE = 2  # pixels along the silhouette that do not count
_WAYS = (1, 0), (0, 1)  # derivatives along x and y
_STEPS = 6  # of the search for the shift
_SHIFT = 3.0  # pixels by which a picture may be shifted as a whole
_LEAST_INNER = 0.3  # share of the object's pixels that are left without their edge


@dataclass(frozen=True)
class Options:
    """Which meshes are compared with which."""

    mesh_folder: Path
    """folder of the true meshes, metres"""
    made: Path
    """folder of the made ones, each under the path of its true mesh, as .glb"""


@dataclass(frozen=True)
class TextureScore:
    """Means over pictures from all sides, over pixels of the object in both renderings, without their edge.

    Attributes:
        psnr: dB, of colours, after the gain of each picture and channel and the shift of each picture that fit best:
            exposure, and where the poses of the views have put the object's frame, are no fault of the texture.
        sharpness: energy of the gradients of the made mesh's pictures over that of the true mesh's; 1 is as sharp.
        alike: correlation of the gradients, which blur and shifts lower, and light does not.
    """

    psnr: float
    sharpness: float
    alike: float


def main(options: Options) -> None:
    """Print the scores of all objects that were made, and their means."""
    names = [field.name for field in fields(TextureScore)]
    scores = {}
    for mesh in tqdm(load_objects(options.mesh_folder), desc="compare", unit="object"):
        file = options.made / Path(mesh.name).with_suffix(".glb")
        if file.is_file():
            scores[mesh.name] = astuple(score_texture(load_mesh(file), mesh))
    if not scores:
        raise OptionError(f"--made {options.made}: holds none of the meshes of {options.mesh_folder} as .glb")
    rows = [["object", *names], *([name, *(f"{value:.2f}" for value in row)] for name, row in scores.items())]
    means = np.mean(list(scores.values()), axis=0)
    print("\n".join(markdown_table([*rows, ["mean", *(f"{value:.2f}" for value in means)]])))


def score_texture(made: Mesh, true: Mesh) -> TextureScore:
    """Compare renderings of two meshes that lie in one frame, metres; `true` is what `made` should look like."""
    poses, K = _cameras(true)
    shown = [make_renderer(mesh, "cpu").render(poses, K, (_SIZE, _SIZE), shading=ALBEDO) for mesh in (made, true)]
    values = []
    for i in range(len(poses)):
        mask = (shown[0].mask[i] & shown[1].mask[i]).numpy()
        inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * _EDGE + 1,) * 2, np.uint8)) > 0
        if inner.sum() < _LEAST_INNER * mask.sum():
            inner = mask
        if inner.any():
            ours, theirs = (255 * one.color[i].numpy() for one in shown)
            values.append(_compare(ours, theirs, inner))
    if not values:
        return TextureScore(0.0, 0.0, 0.0)
    square, ours_energy, theirs_energy, product = np.mean(values, axis=0)
    return TextureScore(
        psnr=float(10 * np.log10(255**2 / max(square, 1e-3))),
        sharpness=float(ours_energy / max(theirs_energy, 1e-9)),
        alike=float(product / max(np.sqrt(ours_energy * theirs_energy), 1e-9)),
    )


def _cameras(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses (N, 4, 4) of the object in cameras all around it, which are turned about their axes, and K (3, 3)."""
    directions = icosphere(0).astype(np.float64)[:_PICTURES]
    turns = random_rotations(len(directions) + 1, torch.Generator().manual_seed(0)).double().numpy()
    directions = directions @ turns[0]
    poses = np.tile(np.eye(4), (len(directions), 1, 1))
    for pose, direction, turn in zip(poses, directions, turns[1:], strict=True):
        side = np.cross(turn[0], direction)
        side /= np.linalg.norm(side)
        pose[:3, :3] = np.stack([side, -np.cross(direction, side), -direction])
        pose[:3, 3] = [0, 0, _DISTANCE * mesh.diameter] - pose[:3, :3] @ mesh.center
    focal = _FILLED * _SIZE * _DISTANCE
    K = torch.tensor([[focal, 0, _SIZE / 2], [0, focal, _SIZE / 2], [0, 0, 1]])
    return torch.from_numpy(poses).float(), K


def _compare(ours: np.ndarray, theirs: np.ndarray, inner: np.ndarray) -> tuple[float, ...]:
    """Of pictures (H, W, 3) within a mask (H, W): mean square error, energies of the gradients, and their product."""
    ours = _fit(ours.astype(np.float32), theirs.astype(np.float32), inner)
    square = np.square(ours - theirs).mean(axis=-1)
    a, b = (_gradients(image, inner) for image in (ours, theirs))
    return float(square[inner].mean()), float((a * a).sum()), float((b * b).sum()), float((a * b).sum())


def _fit(ours: np.ndarray, theirs: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) shifted by up to a few pixels, and times a gain of each channel, to be closest to another.

    Lucas and Kanade (1981), for a shift of the whole picture.
    """
    shift = np.zeros(2)
    moved = ours
    for _ in range(_STEPS + 1):
        gain = (moved * theirs)[inner].sum(axis=0) / np.maximum(np.square(moved[inner]).sum(axis=0), 1e-9)
        difference = (moved * gain - theirs)[inner].ravel()
        slopes = [(gain * cv2.Sobel(moved, cv2.CV_32F, *way, ksize=3, scale=0.125))[inner].ravel() for way in _WAYS]
        jacobian = np.stack(slopes, axis=1).astype(np.float64)
        shift -= np.linalg.solve(jacobian.T @ jacobian + 1e-6 * np.eye(2), jacobian.T @ difference)
        shift = np.clip(shift, -_SHIFT, _SHIFT)
        matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]])
        moved = cv2.warpAffine(ours, matrix, ours.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    gain = (moved * theirs)[inner].sum(axis=0) / np.maximum(np.square(moved[inner]).sum(axis=0), 1e-9)
    return moved * gain


def _gradients(image: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """(P, 6) differences between neighbours of a picture (H, W, 3), at the pixels of a mask whose neighbours are in."""
    kept = cv2.erode(inner.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    kept = kept if kept.any() else inner
    image = image.astype(np.float32)
    return np.concatenate(
        [cv2.Sobel(image, cv2.CV_32F, *way, ksize=1)[kept] for way in _WAYS], axis=1
    )  # a wide kernel would not see blur of a pixel


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
