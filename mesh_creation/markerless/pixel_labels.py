"""Which pixels show the object: labels of known views, carried over by the object's pose, grow over what is new.

What moves with the object and was no part of it (a hand, or the table under a camera that goes round) is carried over
just as well. A pixel that no known view shows takes the label that is the shorter way off along the surface, where
steps in depth block the way, and concave edges and colour edges lengthen it.
"""

from __future__ import annotations

import heapq

import cv2
import numpy as np
from scipy import ndimage

from mesh_creation.markerless.picture import OBJECT, OTHER, UNKNOWN, Picture, Surface
from pose6d.compiled import compiled

_SAME_SURFACE = 0.004  # metres at half a metre, by which two views of one surface differ at most; grows with the square
_STEP = 0.012  # metres of depth between neighbouring pixels that block the way
_CONCAVE = 0.06  # metres that a radian of a concave edge is worth
_COLOR = 0.03  # metres that a step of colour from black to white is worth
_STRANGE = 8.0  # times the length of a way through colours of the other side
_BINS = 8  # of a histogram of colours, along each axis
_FARTHEST = 0.8  # radii of the object, of a way
_LEAST_VOTE = 0.3  # of views that see a surface frontally
_PLANE = 0.004  # metres, half the thickness of what the object stands on
_PLANE_SHARE = 0.6  # of what lies around the object
_PLANE_SPREAD = 0.5  # radii of the object, standard deviation of a plane's points along its shorter side
_MARGIN = 2  # pixels at a mask's outline that are decided anew


def labels_of_mask(mask: np.ndarray, picture: Picture) -> np.ndarray:
    """(H, W) int8 of a mask (H, W) bool that people gave: undecided at its outline, and where depth is of the back."""
    side = np.ones((2 * _MARGIN + 1,) * 2, np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), side) > 0
    if not (inner & (picture.depth > 0)).any():
        inner = mask
    labels = np.full(mask.shape, UNKNOWN, np.int8)
    labels[cv2.dilate(mask.astype(np.uint8), side) == 0] = OTHER
    labels[inner] = OBJECT
    z = picture.depth[inner & (picture.depth > 0)]
    if len(z):
        rows, columns = np.nonzero(inner)
        middle = float(np.median(z))
        size = max(np.ptp(rows), np.ptp(columns)) * middle / picture.K[0, 0]
        labels[mask & (picture.depth > 0) & (np.abs(picture.depth - middle) > max(size, 0.03))] = OTHER
    return labels


def carry_over(
    points: np.ndarray, weights: np.ndarray, picture: Picture, votes: np.ndarray, nearest: np.ndarray
) -> None:
    """Let the points of a known view vote on the pixels that show them.

    Args:
        points: (P, 3) float32 metres, in the picture's camera.
        weights: (P,) float32, positive for the object, negative for other things.
        picture: where they are looked up.
        votes: (H, W) float32, to which a vote is added where the depth is the same.
        nearest: (H, W) float32, the least depth of points of the object so far, which is kept up.
    """
    K = picture.K
    _vote(points, weights, picture.depth, K[0, 0], K[1, 1], K[0, 2], K[1, 2], votes, nearest)


def decide(picture: Picture, surface: Surface, votes: np.ndarray, nearest: np.ndarray, radius: float) -> np.ndarray:
    """Labels (H, W) int8 of all pixels; UNKNOWN is what no way leads to.

    Args:
        picture, surface: of the frame.
        votes: (H, W) positive for the object, negative for other things, 0 where nobody knows.
        nearest: (H, W) metres, the nearest known point of the object, 0 where there is none.
        radius: metres, of the object.
    """
    seeds = np.where(votes > _LEAST_VOTE, OBJECT, np.where(votes < -_LEAST_VOTE, OTHER, UNKNOWN)).astype(np.int8)
    seeds[picture.depth <= 0] = UNKNOWN
    plane = support_plane(surface, seeds, radius)
    if plane is not None:
        height = surface.points @ plane[:3] + plane[3]
        seeds[(np.abs(height) < _PLANE) & (picture.depth > 0) & (seeds == UNKNOWN)] = OTHER
    lab = cv2.cvtColor(cv2.medianBlur(np.ascontiguousarray(picture.rgb), 3), cv2.COLOR_RGB2LAB)
    likely = color_belief(lab, *color_counts(lab, seeds))
    bend = _concavity(surface, picture.K)
    grown = _grow(seeds, surface.points, bend, lab.astype(np.float32) / 255, likely, _FARTHEST * radius)
    unmeasured = (picture.depth <= 0) & (nearest > 0)
    own = _tidy((grown == OBJECT) | unmeasured, picture, seeds)
    return np.where(own, OBJECT, np.where(grown == OTHER, OTHER, UNKNOWN)).astype(np.int8)


def support_plane(surface: Surface, seeds: np.ndarray, radius: float) -> np.ndarray | None:
    """What the object stands on: (4,) unit normal towards the object, and offset; None where there is none.

    RANSAC (Fischler and Bolles, 1981) over points and their normals. All of the object is on one side of it.
    """
    everywhere, slopes = surface.points[::2, ::2], surface.normals[::2, ::2]
    known, seeds = surface.depth[::2, ::2] > 0, seeds[::2, ::2]
    own = everywhere[known & (seeds == OBJECT)]
    if len(own) < 50:
        return None
    center = np.median(own, axis=0)
    around = known & (seeds == OTHER)
    off = everywhere - center
    around &= np.einsum("hwi,hwi->hw", off, off) < (2.0 * radius) ** 2
    points, normals = everywhere[around], slopes[around]
    if len(points) < 60:
        return None
    rng = np.random.default_rng(0)
    own = own[:: max(1, len(own) // 500)]
    sample, sloped = (part[:: max(1, len(points) // 800)] for part in (points, normals))
    best, most = None, _PLANE_SHARE * len(sample)
    for index in rng.choice(len(points), 60):
        normal = normals[index]
        count = ((np.abs((sample - points[index]) @ normal) < _PLANE) & (sloped @ normal > 0.9)).sum()
        if count > most and np.percentile((own - points[index]) @ normal, 5) > -_PLANE:
            best, most = (normal, points[index]), count
    if best is None:
        return None
    near = points[np.abs((points - best[1]) @ best[0]) < _PLANE]
    middle = near.mean(axis=0)
    spread, axes = np.linalg.eigh((near - middle).T @ (near - middle) / len(near))
    if spread[1] < (_PLANE_SPREAD * radius) ** 2:
        return None
    normal = axes[:, 0]
    normal = normal if normal @ best[0] > 0 else -normal
    # A face of the object that lies in the plane is no support.
    if np.percentile((own - middle) @ normal, 30) < _PLANE:
        return None
    return np.array([*normal, -middle @ normal], np.float32)


def _tidy(mask: np.ndarray, picture: Picture, seeds: np.ndarray) -> np.ndarray:
    """The mask (H, W) bool without holes that have no depth, and without specks."""
    own = mask.astype(np.uint8)
    closed = cv2.morphologyEx(own, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outside = 1 - closed
    count, parts, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    for part in range(1, count):
        x, y, width, height, _ = stats[part]
        inner = x > 0 and y > 0 and x + width < own.shape[1] and y + height < own.shape[0]
        hole = parts == part
        if inner and not (picture.depth[hole] > 0).mean() > 0.5:
            closed[hole] = 1
    own = np.where((own == 0) & (closed > 0) & (picture.depth > 0) & (seeds == OTHER), 0, closed).astype(np.uint8)
    own = cv2.morphologyEx(own, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    if count > 1:
        large = stats[1:, cv2.CC_STAT_AREA].max()
        kept = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] > 0.03 * large)
        wanted = np.zeros(count, np.uint8)
        wanted[kept[kept > 0]] = 1
        own = wanted[parts]
    return own > 0


def color_counts(lab: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(2, 16, 16, 16) how many pixels of the object, and of other things, have which colour; Lab (H, W, 3) uint8."""
    size = [_BINS * 2] * 3
    counts = [
        cv2.calcHist([lab], [0, 1, 2], (seeds == x).astype(np.uint8), size, [0, 256] * 3) for x in (OBJECT, OTHER)
    ]
    return np.stack(counts)


def color_belief(lab: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H, W) float32 from 0 to 1, how likely each pixel is of the object by its colour alone, by `color_counts`."""
    own, other = (ndimage.gaussian_filter(part / max(part.sum(), 1.0), 1.0) for part in (own, other))
    belief = ((own + 1e-4) / (own + other + 2e-4)).astype(np.float32)
    cell = lab // (128 // _BINS)
    return belief[cell[..., 0], cell[..., 1], cell[..., 2]]


def _concavity(surface: Surface, K: np.ndarray) -> np.ndarray:
    """(H, W) float32 radians per metre by which the surface bends towards the camera, 0 where it is convex."""
    normals = surface.normals
    across = cv2.Sobel(normals[..., 0], cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(normals[..., 1], cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    bend = (across + down) * (K[0, 0] / np.maximum(surface.depth, 0.05))
    return np.where(surface.depth > 0, np.maximum(-bend, 0), 0).astype(np.float32)


@compiled(fastmath=True)
def _vote(points, weights, depth, fx, fy, cx, cy, votes, nearest):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for i in range(len(points)):
        z = points[i, 2]
        if z < 0.05:
            continue
        column = int(np.floor(fx * points[i, 0] / z + cx + 0.5))
        row = int(np.floor(fy * points[i, 1] / z + cy + 0.5))
        if column < 1 or row < 1 or column >= width - 1 or row >= height - 1:
            continue
        limit = _SAME_SURFACE * max(1.0, (z / 0.5) ** 2)
        for r in range(row - 1, row + 2):
            for c in range(column - 1, column + 2):
                share = 1.0 if r == row and c == column else 0.25
                measured = depth[r, c]
                if measured > 0 and abs(measured - z) < limit:
                    votes[r, c] += share * weights[i]
                if weights[i] > 0 and (nearest[r, c] == 0 or z < nearest[r, c]):
                    nearest[r, c] = z


@compiled()
def _grow(seeds, points, concavity, lab, likely, reach):  # type: ignore[no-untyped-def]
    """Dijkstra's shortest ways (1959) from all seeds at once; the label of the nearest one within reach, else 0."""
    height, width = seeds.shape
    labels = seeds.copy()
    cost = np.full((height, width), np.inf, np.float64)
    heap = [(0.0, np.int64(0))]
    heap.pop()
    for row in range(height):
        for column in range(width):
            if seeds[row, column] != 0:
                cost[row, column] = 0.0
                border = False
                for d in range(4):
                    r, c = row + (1, -1, 0, 0)[d], column + (0, 0, 1, -1)[d]
                    if r >= 0 and c >= 0 and r < height and c < width and seeds[r, c] == 0:
                        border = True
                if border:
                    heap.append((0.0, np.int64(row * width + column)))
    heapq.heapify(heap)
    while len(heap):
        so_far, index = heapq.heappop(heap)
        row, column = index // width, index % width
        if so_far > cost[row, column]:
            continue
        for d in range(4):
            r, c = row + (1, -1, 0, 0)[d], column + (0, 0, 1, -1)[d]
            if r < 0 or c < 0 or r >= height or c >= width or seeds[r, c] != 0 or points[r, c, 2] <= 0:
                continue
            z = points[r, c, 2]
            if abs(z - points[row, column, 2]) > _STEP * max(1.0, (z / 0.5) ** 2):
                continue
            a, b = points[r, c], points[row, column]
            length = np.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)
            edge = 0.0
            for k in range(3):
                edge = max(edge, abs(lab[r, c, k] - lab[row, column, k]))
            strange = 1 - likely[r, c] if labels[row, column] > 0 else likely[r, c]
            length *= 1 + _CONCAVE * concavity[r, c] + _STRANGE * max(strange - 0.5, 0.0)
            total = so_far + length + _COLOR * max(edge - 0.02, 0.0)
            if total < reach and total < cost[r, c]:
                cost[r, c] = total
                labels[r, c] = labels[row, column]
                heapq.heappush(heap, (total, np.int64(r * width + c)))
    return labels
