"""How near the look of a made mesh comes to that of the true one, from sides that no view was taken from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pose6d.geometry.rotation_grids import icosphere
from pose6d.geometry.transforms import random_rotations
from pose6d.mesh.mesh import Mesh
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
class TextureScore:
    """Means over pictures from all sides, over pixels of the object in both renderings, without their edge.

    Attributes:
        psnr: dB, of colours, after the gain of each picture and channel and the shift of each picture that fit best:
            exposure, and where the poses of the views have put the object's frame, are no fault of the texture.
        psnr_seen: the same without the pixels on faces that no view has shown.
        sharpness: energy of the gradients of the made mesh's pictures over that of the true mesh's; 1 is as sharp.
        alike: correlation of the gradients, which blur and shifts lower, and light does not.
    """

    psnr: float
    psnr_seen: float
    sharpness: float
    alike: float


def score_texture(made: Mesh, true: Mesh, unseen: np.ndarray | None = None) -> TextureScore:
    """Compare renderings of two meshes that lie in one frame, metres.

    Args:
        made: with its texture.
        true: what it should look like.
        unseen: (F,) bool, faces of `made` that no view shows.
    """
    poses, K = _cameras(true)
    shown = [make_renderer(mesh, "cpu").render(poses, K, (_SIZE, _SIZE), shading=ALBEDO) for mesh in (made, true)]
    marks = np.zeros((len(poses), _SIZE, _SIZE), bool)
    if unseen is not None and unseen.any():
        marks = _marked(made, unseen, poses, K)
    values = []
    for i in range(len(poses)):
        mask = (shown[0].mask[i] & shown[1].mask[i]).numpy()
        inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * _EDGE + 1,) * 2, np.uint8)) > 0
        if inner.sum() < _LEAST_INNER * mask.sum():
            inner = mask
        if inner.any():
            ours, theirs = (255 * one.color[i].numpy() for one in shown)
            values.append(_compare(ours, theirs, inner, inner & ~marks[i]))
    if not values:
        return TextureScore(0.0, 0.0, 0.0, 0.0)
    square, seen, ours_energy, theirs_energy, product = np.nanmean(np.array(values), axis=0)
    return TextureScore(
        psnr=_decibels(square),
        psnr_seen=_decibels(seen),
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


def _marked(mesh: Mesh, faces: np.ndarray, poses: torch.Tensor, K: torch.Tensor) -> np.ndarray:
    """(N, H, W) bool: pixels that show the marked faces (F,) bool."""
    corners = mesh.vertices[mesh.faces].reshape(-1, 3)
    colors = np.repeat(np.where(faces, 255, 0).astype(np.uint8), 3)[:, None].repeat(3, axis=1)
    marked = Mesh(vertices=corners, faces=np.arange(len(corners)).reshape(-1, 3), colors=colors)
    return make_renderer(marked, "cpu").render(poses, K, (_SIZE, _SIZE), shading=ALBEDO).color[..., 0].numpy() > 0.5


def _compare(ours: np.ndarray, theirs: np.ndarray, inner: np.ndarray, seen: np.ndarray) -> tuple[float, ...]:
    """Mean square error of colours (H, W, 3) on two masks (H, W), and what their gradients have of their own."""
    ours = _fit(ours.astype(np.float32), theirs.astype(np.float32), inner)
    square = np.square(ours - theirs).mean(axis=-1)
    a, b = (_gradients(image, inner) for image in (ours, theirs))
    unseen = float("nan") if not seen.any() else float(square[seen].mean())
    return float(square[inner].mean()), unseen, float((a * a).sum()), float((b * b).sum()), float((a * b).sum())


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


def _decibels(square: float) -> float:
    return float(10 * np.log10(255**2 / max(square, 1e-3)))
