"""What posed views say about points in space: proved empty, on the surface seen, or hidden behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.completion.seen_space_loops import compare_points, measure_planes
from mesh_creation.completion.support_plane import find_supports
from mesh_creation.reference_views.view import ReferenceView, object_depth, object_window
from mesh_creation.registration.depth_cleaning import surface_normals
from pose6d.pieces import even_slices, run_pieces

_SAME_WAY = 0.6  # cosine from which two normals may be of one surface
_SAME_WAY_UP = 0.985  # cosine between the normals that several views show of one support plane
_FACING = -0.3  # cosine to the ray, of a surface that a camera would see
_AROUND = 4  # pixels around a pixel that its normal depends on
_PIECE = 20_000  # points looked up at once
_GROUPS = 8  # of planes, measured at once
_BEHIND = 0.01  # metres behind something else's depth from which on a point is hidden by it


@dataclass
class Verdict:
    """What the views say about points.

    Attributes:
        contradiction: (...) float32 metres that a point lies inside of space that is proved empty, 0 where it may be.
        matched: (...) bool, a view saw a surface there, turned the same way.
        buried: (...) bool, turned towards a camera, and hidden from it by the object itself.
    """

    contradiction: np.ndarray
    matched: np.ndarray
    buried: np.ndarray


@dataclass(frozen=True)
class PlaneCosts:
    """What is good and bad of the images of a surface across a plane.

    Attributes:
        deepest: metres inside of empty space that cost 1, as does all that is deeper; less costs its square.
        noise: mean of that without a mirror, which costs nothing.
        buried: what the share of the images costs that is turned towards a camera, and hidden from it by the object.
        matched: what the share of the images costs that lies on the surface seen, turned the same way; at most 0.
    """

    deepest: float
    noise: float
    buried: float
    matched: float


class SeenSpace:
    """The space around an object as its views prove it.

    Rays prove the space before the measured surface empty, and the space beside the mask unless something else hides
    it. Nothing is below the plane that the object stands on.

    Args:
        views: posed pictures.
        points: (P, 3) the surface seen, metres, object frame.
        tolerance: metres within which a point counts as on the surface seen.
        supports: of `find_supports`; looked for if omitted.

    Attributes:
        supports: for each view (4,) of `find_support`, or None.
    """

    def __init__(
        self,
        views: Sequence[ReferenceView],
        points: np.ndarray,
        tolerance: float,
        supports: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self.supports = find_supports(views, points) if supports is None else list(supports)
        self._pictures = _pictures(views)
        self._limits = np.array([tolerance, _BEHIND, _SAME_WAY, _FACING], np.float32)
        planes = [plane for plane in self.supports if plane is not None]
        self._planes = np.array(planes, np.float32).reshape(-1, 4)

    @property
    def up(self) -> np.ndarray | None:
        """(3,) the normal of the plane that the object stands on, the same in all views that show one; else None."""
        normals = np.array([plane[:3] for plane in self.supports if plane is not None])
        if not len(normals) or (normals @ normals[0]).min() < _SAME_WAY_UP:
            return None
        mean = normals.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def judge(self, points: np.ndarray, normals: np.ndarray) -> Verdict:
        """Look up points (..., 3) with unit normals (..., 3), both in the object's frame."""
        shape = points.shape[:-1]
        points, normals = points.reshape(-1, 3).astype(np.float32), normals.reshape(-1, 3).astype(np.float32)
        heights = points @ self._planes[:, :3].T + self._planes[:, 3]
        contradiction = np.maximum(-heights, 0).max(axis=1, initial=0)
        matched, buried = np.zeros(len(points), bool), np.zeros(len(points), bool)

        def look_up(part: slice) -> None:
            compare_points(
                points[part],
                normals[part],
                self._pictures,
                self._limits,
                contradiction[part],
                matched[part],
                buried[part],
            )

        run_pieces(look_up, even_slices(len(points), _PIECE))
        return Verdict(contradiction.reshape(shape), matched.reshape(shape), buried.reshape(shape))

    def measure(
        self,
        planes: np.ndarray,
        added: np.ndarray,
        surface: tuple[np.ndarray, np.ndarray],
        costs: PlaneCosts,
        keep: int = 1,
        limit: float = np.inf,
        most: int | None = None,
    ) -> np.ndarray:
        """Judge where planes of mirrors put a surface, as far as that can make them the best of their group.

        Args:
            planes: (G, N, 4) unit normals and offsets, N planes in each of G groups.
            added: (G, N) what each of them costs beside.
            surface: points (P, 3) and normals (P, 3), object frame.
            costs: what counts how much.
            keep: how many planes of each group are wanted.
            limit: planes that cost more are not wanted.
            most: how many views are asked at most; all if omitted.

        Returns:
            (G, N, 3) float32: mean squared contradiction of the images, of the most that counts, beyond noise; share
            that is matched; share that is buried. Infinite, 0 and 0 for planes that are not among the best.
        """
        points, normals = (np.ascontiguousarray(array, np.float32) for array in surface)
        planes, added = planes.astype(np.float32), added.astype(np.float32)
        every = 1 if most is None else -(-len(self._pictures[2]) // most)
        weights = np.array([costs.deepest, costs.noise, costs.buried, costs.matched], np.float32)
        least = np.full((len(planes), keep), limit, np.float32)
        measured = np.empty((*planes.shape[:2], 3), np.float32)

        def judge(part: slice) -> None:
            measure_planes(
                planes[part],
                added[part],
                points,
                normals,
                every,
                self._pictures,
                self._limits,
                self._planes,
                weights,
                least[part],
                measured[part],
            )

        run_pieces(judge, even_slices(len(planes), _GROUPS))
        return measured


def _pictures(views: Sequence[ReferenceView]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All that is looked up in views: pixels, their normals, cameras and frames, as of `seen_space_loops`."""
    sizes = np.array([view.mask.shape for view in views], np.int64)
    ends = sizes.prod(axis=1).cumsum()
    frames = np.column_stack([ends - sizes.prod(axis=1), sizes])
    # What is said of a pixel lies side by side, since pixels are looked up in any order.
    pixels, normals = np.empty((ends[-1] + 1, 2), np.float32), np.zeros((ends[-1], 3), np.float32)

    pixels[-1] = 0

    def fill(i: int) -> None:
        part = slice(frames[i, 0], ends[i])
        _fill(pixels[part].reshape(*sizes[i], 2), normals[part].reshape(*sizes[i], 3), views[i])

    run_pieces(fill, range(len(views)))
    return pixels, normals, np.stack([_camera(view) for view in views]), frames


def _fill(pixels: np.ndarray, normals: np.ndarray, view: ReferenceView) -> None:
    """Set pixels (H, W, 2) of a view, and normals (H, W, 3) where the object is."""
    pixels[..., 0] = -cv2.distanceTransform((~view.mask).astype(np.uint8), cv2.DIST_L2, 5)
    pixels[..., 1] = view.depth
    window, K = object_window(view, _AROUND)
    depth, cosine = (image[window] for image in object_depth(view))
    for channel, image in enumerate((depth, cosine)):
        pixels[window][..., channel] = np.where(view.mask[window], image, pixels[window][..., channel])
    normals[window] = surface_normals(depth, K)


def _camera(view: ReferenceView) -> np.ndarray:
    """(16,) float32: R and t of the object in the camera, fx, cx, fy, cy."""
    object_in_camera, K = np.linalg.inv(view.camera_in_object), view.K
    intrinsics = K[0, 0], K[0, 2], K[1, 1], K[1, 2]
    return np.array([*object_in_camera[:3, :3].ravel(), *object_in_camera[:3, 3], *intrinsics], np.float32)
