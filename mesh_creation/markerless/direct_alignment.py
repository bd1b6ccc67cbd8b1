"""Laying points seen in one picture onto the depth and the grey values of another: normal equations of a pose.

Depth by the distance of the measured point from the plane of the known one (Chen and Medioni, 1992), grey values as in
Lucas and Kanade (1981), both with weights of Geman and McClure, which outliers hardly have.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.markerless.picture import Picture, SurfacePoints
from pose6d.compiled import compiled
from pose6d.geometry.transforms import rigid_transform

DEPTH_NOISE = 0.0012  # metres at half a metre; grows with the square of the distance
_GREY_NOISE = 9.0  # of 255, at the finest level
_GATE = 0.008  # metres at half a metre, at the finest level: farther off, it is another surface
_START = 0.08  # of the gate: noise of depth before poses agree
_FACING = 0.2  # cosine of incidence from which on a point is compared
_INDEPENDENT = 0.25  # share of the points that err independently of their neighbours

_FIT, _BEFORE, _BEHIND = 0, 1, 2  # counts
_N, _V, _C, _VV, _CC, _VC = range(3, 9)  # sums of known (V) and seen (C) grey values
_SUMS = 9


@dataclass
class Equations:
    """Normal equations of a small motion of points in the camera, and what was compared.

    Attributes:
        H, g: (6, 6) and (6,): the motion (rotation, translation) is the solution of H x = -g; x moves points in camera
            axes, rotation about the camera.
        sums: (9,) counts and sums of grey values.
    """

    H: np.ndarray
    g: np.ndarray
    sums: np.ndarray

    @classmethod
    def empty(cls) -> Equations:
        """Of nothing."""
        return cls(np.zeros((6, 6)), np.zeros(6), np.zeros(_SUMS))

    def __iadd__(self, other: Equations) -> Equations:
        self.H, self.g, self.sums = self.H + other.H, self.g + other.g, self.sums + other.sums
        return self

    @property
    def fitting(self) -> float:
        """How many points lie on a measured surface."""
        return float(self.sums[_FIT])

    @property
    def contradicting(self) -> float:
        """How many points lie before the measured surface, in space that is empty."""
        return float(self.sums[_BEHIND])

    @property
    def hidden(self) -> float:
        """How many points lie behind a measured surface."""
        return float(self.sums[_BEFORE])

    @property
    def correlation(self) -> float:
        """Of known and seen grey values of fitting points; 1 where there is hardly any contrast."""
        n, v, c, vv, cc, vc = self.sums[_N:]
        if n < 20:
            return 1.0
        known, seen, both = vv / n - (v / n) ** 2, cc / n - (c / n) ** 2, vc / n - v * c / n**2
        if known < 30:
            return 1.0
        return float(both / np.sqrt(known * max(seen, 1.0)))

    @property
    def gain(self) -> tuple[float, float]:
        """(a, b) such that seen = a * known + b."""
        n, v, c, vv, _, vc = self.sums[_N:]
        if n < 20:
            return 1.0, 0.0
        # Between a fit and the same brightness: points without contrast say nothing of the gain.
        spread = vv - v * v / n
        a = float(np.clip((vc - v * c / n + 25 * n) / (spread + 25 * n), 0.5, 2.0))
        return a, float((c - a * v) / n)


def relate(
    known: SurfacePoints,
    known_in_camera: np.ndarray,
    picture: Picture,
    level: int,
    gate: float = _GATE,
    gain: tuple[float, float] | None = None,
) -> Equations:
    """Normal equations of points in a picture.

    Args:
        known: in any frame.
        known_in_camera: (4, 4) that frame in the picture's camera.
        picture: where they are looked up.
        level: of the pyramid.
        gate: metres between a point and the measured surface, at half a metre.
        gain: of grey values, as `Equations.gain` gives it; None to fit it first.
    """
    pose = np.ascontiguousarray(known_in_camera, np.float64)
    K = picture.K
    values, lens = np.ascontiguousarray(known.values[:, level]), (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    images = (picture.depth, picture.grey[level], 0.5**level)
    args = (known.points, known.normals, values, *images, *lens, pose, gate, _GREY_NOISE * (1 + level))
    out = Equations.empty()
    if gain is None:
        _accumulate(*args, 1.0, 0.0, False, out.H, out.g, out.sums)
        gain = out.gain
        out.sums[:] = 0
    _accumulate(*args, gain[0], gain[1], True, out.H, out.g, out.sums)
    out.H += np.triu(out.H, 1).T
    return out


def move(pose: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A pose (4, 4) after a small motion (6,), rotation and translation, in the axes that it is in."""
    moved = rigid_transform(cv2.Rodrigues(np.ascontiguousarray(motion[:3]))[0], motion[3:]) @ pose
    # Rounding would grow from frame to frame where a motion is carried on.
    left, _, right = np.linalg.svd(moved[:3, :3])
    moved[:3, :3] = left @ right
    return moved


@compiled(fastmath=True)
def _accumulate(  # type: ignore[no-untyped-def]
    points, normals, values, depth, grey, scale, fx, fy, cx, cy, pose, gate, noise_c, gain, offset, solve, H, g, sums
):
    height, width = depth.shape
    rows, columns = grey.shape[0], grey.shape[1]
    J = np.zeros(6)
    Jc = np.zeros(6)
    for i in range(len(points)):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        x = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]
        y = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]
        z = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
        if z < 0.05:
            continue
        a, b, c = normals[i, 0], normals[i, 1], normals[i, 2]
        nx = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c
        ny = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c
        nz = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c
        cosine = -(nx * x + ny * y + nz * z) / np.sqrt(x * x + y * y + z * z)
        if cosine < _FACING:
            continue
        u, v = fx * x / z + cx, fy * y / z + cy
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        if column < 1 or row < 1 or column >= width - 1 or row >= height - 1:
            continue
        measured = depth[row, column]
        if measured <= 0:
            continue
        ahead = measured - z
        blur = max(1.0, (z / 0.5) ** 2)
        if ahead < -gate * blur:
            sums[1] += 1
            continue
        if ahead > gate * blur:
            sums[2] += 1
            continue
        sums[0] += 1
        qx, qy = (column - cx) / fx * measured, (row - cy) / fy * measured
        residual = nx * (qx - x) + ny * (qy - y) + nz * (measured - z)
        noise = max(DEPTH_NOISE * (z / 0.5) ** 2, _START * gate * blur)
        ratio = (residual / noise) ** 2
        weight = _INDEPENDENT * cosine / ((1 + 0.25 * ratio) * noise * noise)
        us, vs = u * scale, v * scale
        c0, r0 = int(us), int(vs)
        lit = values[i] >= 0 and c0 + 1 < columns and r0 + 1 < rows
        if lit:
            fu, fv = us - c0, vs - r0
            w00, w01, w10, w11 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
            seen = w00 * grey[r0, c0, 0] + w01 * grey[r0, c0 + 1, 0]
            seen += w10 * grey[r0 + 1, c0, 0] + w11 * grey[r0 + 1, c0 + 1, 0]
            value = values[i]
            sums[3] += 1
            sums[4] += value
            sums[5] += seen
            sums[6] += value * value
            sums[7] += seen * seen
            sums[8] += value * seen
        if not solve:
            continue
        J[0], J[1], J[2] = -(y * nz - z * ny), -(z * nx - x * nz), -(x * ny - y * nx)
        J[3], J[4], J[5] = -nx, -ny, -nz
        weight_c, residual_c = 0.0, 0.0
        if lit:
            gu = w00 * grey[r0, c0, 1] + w01 * grey[r0, c0 + 1, 1]
            gu += w10 * grey[r0 + 1, c0, 1] + w11 * grey[r0 + 1, c0 + 1, 1]
            gv = w00 * grey[r0, c0, 2] + w01 * grey[r0, c0 + 1, 2]
            gv += w10 * grey[r0 + 1, c0, 2] + w11 * grey[r0 + 1, c0 + 1, 2]
            residual_c = seen - gain * value - offset
            gx, gy = gu * scale * fx / z, gv * scale * fy / z
            gz = -(gx * x + gy * y) / z
            Jc[0], Jc[1], Jc[2] = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
            Jc[3], Jc[4], Jc[5] = gx, gy, gz
            ratio = (residual_c / noise_c) ** 2
            weight_c = _INDEPENDENT * cosine / ((1 + 0.25 * ratio) * noise_c * noise_c)
        for m in range(6):
            g[m] += weight * J[m] * residual + weight_c * Jc[m] * residual_c
            for n in range(m, 6):
                H[m, n] += weight * J[m] * J[n] + weight_c * Jc[m] * Jc[n]
