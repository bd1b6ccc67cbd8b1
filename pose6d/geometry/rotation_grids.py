"""Rotation hypotheses that cover all views of an object."""

from __future__ import annotations

import math

import numpy as np
import torch

from pose6d.geometry.transforms import so3_exp

_SAME_DEGREES = 30.0  # of hypotheses that a symmetry brings nearer to each other than this, the first is kept
_SPIRAL = 1.533751168755204288118041  # the root of x^4 = x + 4
_COVERING_TURN = (2.084987458229208, -0.5057099347764791, 1.2208663654773049)  # radians about an axis


def rotation_hypotheses(symmetries: torch.Tensor | None = None, views: int = 42, inplane: int = 6) -> torch.Tensor:
    """Rotations to start the search from: cameras on an icosphere looking at its centre, rolled in equal steps.

    Hypotheses that a symmetry brings nearer than 30 degrees to an earlier one are dropped (arXiv 2312.08344, section
    3.2). The default 252 leave no rotation further than 35.7 degrees from the nearest hypothesis.

    Args:
        symmetries: (S, 4, 4) or (S, 3, 3) transforms under which the object looks the same, identity included.
        views: the smallest icosphere with at least so many vertices is used (12, 42, 162, 642).
        inplane: rolls about the viewing direction.

    Returns:
        (N, 3, 3) float32 on the CPU, object in camera.
    """
    level = 0
    while 10 * 4**level + 2 < views:
        level += 1
    views_in_object = _look_at_center(icosphere(level))  # (V, 3, 3) camera in object
    angles = 2 * math.pi * np.arange(inplane) / inplane
    rolls = np.zeros((inplane, 3, 3))
    rolls[:, 0, 0] = rolls[:, 1, 1] = np.cos(angles)
    rolls[:, 1, 0] = np.sin(angles)
    rolls[:, 0, 1] = -rolls[:, 1, 0]
    rolls[:, 2, 2] = 1
    camera_in_object = (views_in_object[:, None] @ rolls).reshape(-1, 3, 3)
    return _without_symmetric(camera_in_object.transpose(0, 2, 1), symmetries)


def covering_rotations(symmetries: torch.Tensor | None = None) -> torch.Tensor:
    """120 rotations that leave none further than 37.1 degrees from the nearest.

    They are all products g q h of the elements g of the group D5 and h of the group T with one q, which was found by
    minimising the exact covering radius, the largest circumradius of the facets of the convex hull of the quaternions
    and their negatives, by sequential linear programming from random starts, for many pairs of groups. The elements of
    T turn the object, and are symmetries that many objects have.

    Args:
        symmetries: as of `rotation_hypotheses`.

    Returns:
        (N, 3, 3) float32 on the CPU, object in camera.
    """
    q = so3_exp(torch.tensor(_COVERING_TURN, dtype=torch.float64))
    rotations = (_dihedral_group(5)[:, None] @ q @ _tetrahedral_group()).reshape(-1, 3, 3)
    return _without_symmetric(rotations.numpy(), symmetries)


def spiral_rotations(count: int) -> torch.Tensor:
    """So many rotations, spread evenly over all: super-Fibonacci spirals (Alexa, CVPR 2022).

    Args:
        count: 4,400 are about 15 degrees from each other.

    Returns:
        (count, 3, 3) float32 on the CPU.
    """
    place = torch.arange(count, dtype=torch.float64) + 0.5
    share = place / count
    inner, outer = share.sqrt(), (1 - share).sqrt()
    a, b = (2 * math.pi * place / turn for turn in (math.sqrt(2.0), _SPIRAL))
    x, y, z, w = inner * a.sin(), inner * a.cos(), outer * b.sin(), outer * b.cos()
    angle = 2 * torch.atan2((x * x + y * y + z * z).sqrt(), w)
    axis = torch.nn.functional.normalize(torch.stack([x, y, z], dim=1))
    return so3_exp(angle[:, None] * axis).float()


def _dihedral_group(n: int) -> torch.Tensor:
    """(2n, 3, 3) float64: n turns about z, and half turns about n axes across it."""
    angle = math.pi / n * torch.arange(n, dtype=torch.float64)
    zero = torch.zeros_like(angle)
    turns = torch.stack([zero, zero, 2 * angle], dim=1)
    half_turns = math.pi * torch.stack([angle.cos(), angle.sin(), zero], dim=1)
    return so3_exp(torch.cat([turns, half_turns]))


def _tetrahedral_group() -> torch.Tensor:
    """(12, 3, 3) float64: half turns about x, y and z, none, and third turns either way about the diagonals."""
    axes = torch.eye(3, dtype=torch.float64)
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    diagonals = torch.cartesian_prod(sign[1:], sign, sign) / math.sqrt(3)
    thirds = 2 * math.pi / 3 * diagonals
    return so3_exp(torch.cat([math.pi * axes, 0 * axes[:1], thirds, -thirds]))


def _without_symmetric(rotations: np.ndarray, symmetries: torch.Tensor | None) -> torch.Tensor:
    """(N, 3, 3) float32 of the rotations (N, 3, 3) that no symmetry (S, 4, 4) makes look like an earlier one."""
    if symmetries is not None and len(symmetries):
        S = symmetries[:, :3, :3].detach().cpu().numpy().astype(np.float64)
        rotations = rotations[_distinct_views(rotations, S, math.radians(_SAME_DEGREES))]
    return torch.from_numpy(np.ascontiguousarray(rotations, dtype=np.float32))


def icosphere(level: int) -> np.ndarray:
    """Vertices of an icosahedron whose faces are split in four `level` times, pushed out to the unit sphere.

    (10 * 4**level + 2, 3) float64: level 0 gives 12 vertices, 1 gives 42, 2 gives 162.
    """
    # Three golden rectangles, one in each coordinate plane.
    g = (1 + math.sqrt(5)) / 2
    corners = [(a, b * g) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    vertices = [(0.0, a, b) for a, b in corners] + [(a, b, 0.0) for a, b in corners] + [(b, 0.0, a) for a, b in corners]
    points = [np.array(v) / math.hypot(1, g) for v in vertices]
    near = {(i, j) for i in range(12) for j in range(i) if points[i] @ points[j] > 0.4}
    faces = [(i, j, k) for i, j in sorted(near) for k in range(j) if (i, k) in near and (j, k) in near]
    for _ in range(level):
        middles: dict[tuple[int, int], int] = {}

        def middle(i: int, j: int, seen: dict[tuple[int, int], int] = middles) -> int:
            key = (min(i, j), max(i, j))
            if key not in seen:
                seen[key] = len(points)
                points.append((points[i] + points[j]) / np.linalg.norm(points[i] + points[j]))
            return seen[key]

        split = []
        for i, j, k in faces:
            ij, jk, ki = middle(i, j), middle(j, k), middle(k, i)
            split += [(i, ij, ki), (ij, j, jk), (ki, jk, k), (ij, jk, ki)]
        faces = split
    return np.stack(points)


def _look_at_center(positions: np.ndarray) -> np.ndarray:
    """(V, 3, 3) camera in object: z to the centre, x across the object's z axis; x is the object's at its poles."""
    z = -positions
    x = np.cross([0.0, 0.0, 1.0], z)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    x = np.where(length < 1e-6, [1.0, 0.0, 0.0], x / np.maximum(length, 1e-6))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _distinct_views(rotations: np.ndarray, symmetries: np.ndarray, min_angle: float) -> np.ndarray:
    """Indices of the rotations (N, 3, 3) that a greedy walk keeps, given symmetries (S, 3, 3)."""
    # angle(A, B) < min_angle where trace(A^T B), the dot product of the matrices as 9-vectors, exceeds this bound.
    bound = 1 + 2 * math.cos(min_angle)
    flat = rotations.reshape(-1, 9)
    alike = (rotations[:, None] @ symmetries).reshape(len(rotations), -1, 9)
    kept: list[int] = []
    for i in range(len(rotations)):
        if not kept or (alike[i] @ flat[kept].T).max() <= bound + 1e-9:
            kept.append(i)
    return np.array(kept)
