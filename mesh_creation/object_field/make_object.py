"""From reference views to a textured mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from mesh_creation.completion.completed_surface import complete_surface, mirror_colors
from mesh_creation.completion.mirrors import Mirror, find_mirrors, reflect
from mesh_creation.completion.support_plane import find_supports
from mesh_creation.fusion.closed_surface import ClosedSurface, close_surface, decimate
from mesh_creation.fusion.color_alignment import aligned_views
from mesh_creation.fusion.mesh_folder import face_share
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.fusion.uv_atlas import atlas_size, paint, unwrap, vertex_colors
from mesh_creation.fusion.view_blending import TextureView, ViewBlender
from mesh_creation.object_field.pose_refinement import refine_poses
from mesh_creation.object_field.view_evidence import ViewEvidence, collect_evidence, largest_piece
from mesh_creation.reference_views.view import ReferenceView, object_window
from mesh_creation.registration.keyframes import sharpness
from pose6d.device import resolve_device
from pose6d.geometry.transforms import rotation_angle
from pose6d.mesh.mesh import Mesh

_MARGIN = 0.006  # metres around the points that the volume covers
_CELLS = 180  # voxels along the diagonal of the box, at most
_VOXELS = 1_000_000  # in the box, at least
_VOXEL = 0.0005, 0.003  # metres
_AROUND = 8  # pixels around the mask that belong to a picture of the object
_SHARPENING = 3.0  # of the blended texture
_MUCH = 0.15  # share of the surface; where less is not seen, no mirrors are looked for

Completion = Literal["auto", "mirror", "hull"]


@dataclass(frozen=True)
class ObjectOptions:
    """How an object is made from views."""

    faces: int = 20_000
    """most triangles of the mesh"""
    texel: float = 0.0004
    """metres of surface that one pixel of the texture covers"""
    completion: Completion = "auto"
    """what nobody saw: mirror (taken from across planes of symmetry), hull (closed), or auto (mirror where much is not
    seen)"""
    refine_poses: bool = True
    """let the views' poses move so that the views fit each other"""
    device: str = "auto"
    """auto, cpu or cuda"""
    name: str = "object"
    """what the mesh is called"""


@dataclass
class MadeObject:
    """An object made from views.

    Attributes:
        mesh: with a texture, metres, in the frame of the views' poses.
        colored: the same surface with vertex colours.
        unseen: (F,) bool, faces of `colored` that no view shows.
        camera_in_object: (N, 4, 4) poses of the views as they were refined.
        quality: numbers for people: `seen_share` of the surface and of the texture, `pose_change` in degrees and
            metres, median; `mirrors`, the normal and offset of the planes that what was not seen is taken from across.
    """

    mesh: Mesh
    colored: Mesh
    unseen: np.ndarray
    camera_in_object: np.ndarray
    quality: dict[str, Any] = field(default_factory=dict)


def make_object(views: Sequence[ReferenceView], options: ObjectOptions = ObjectOptions()) -> MadeObject:
    """A textured mesh of the object that the views show.

    1. What each view says of surface and empty space; background that masks let in is left out.
    2. Poses refined so that the views fit each other.
    3. All depth in one volume; its surface, closed and decimated. Where much was not seen, across mirrors.
    4. Colours and texture from the pictures, which are laid on each other by their colours for that.

    Raises:
        SceneError: the views show no surface.
    """
    device = resolve_device(options.device)
    evidence = collect_evidence(views)
    if options.refine_poses:
        refine_poses(evidence, device)
    points = _points(evidence)
    volume = _volume(evidence, points, str(device))
    surface, mirrors = _surface(evidence, volume, points, options.completion)
    surface = decimate(surface, options.faces)
    mesh = Mesh(vertices=surface.vertices, faces=surface.faces, name=options.name)
    blender = ViewBlender(mesh, aligned_views(mesh, _texture_views(evidence)), _SHARPENING)
    look_up = mirror_colors(blender.colors, mirrors)
    colors, _ = vertex_colors(mesh, look_up)
    size = atlas_size(mesh, options.texel)
    textured, painted = paint(unwrap(mesh, size), size, look_up)
    colored = replace(mesh, colors=colors)
    quality = {
        "views": len(views),
        "voxel": volume.voxel,
        "seen_share": 1.0 - face_share(mesh, surface.filled),
        "texture_seen_share": painted,
        "mirrors": [{"normal": mirror.normal, "offset": mirror.offset, "score": mirror.score} for mirror in mirrors],
        "pose_change": _pose_change(evidence),
    }
    return MadeObject(textured, colored, surface.filled, np.stack([one.pose for one in evidence]), quality)


def _surface(
    evidence: Sequence[ViewEvidence], volume: TsdfVolume, points: np.ndarray, completion: Completion
) -> tuple[ClosedSurface, list[Mirror]]:
    """The closed surface of a volume, and the mirrors that it was completed across; points (P, 3) are those seen."""
    closed = close_surface(volume, points, None)
    if completion == "hull" or (
        completion == "auto" and face_share(Mesh(vertices=closed.vertices, faces=closed.faces), closed.filled) < _MUCH
    ):
        return closed, []
    views = [replace(one.view, camera_in_object=one.pose) for one in evidence]
    supports = find_supports(views, points)
    mirrors = find_mirrors(views, points, supports)
    larger = _volume(evidence, reflect(points, mirrors), str(volume.total.device))
    completed = complete_surface(larger, points, views, mirrors, supports)
    return completed.surface, completed.mirrors


def _points(evidence: Sequence[ViewEvidence]) -> np.ndarray:
    """(P, 3) points of the surface, without specks."""
    points = np.concatenate([one.points[::5] for one in evidence])
    return points[largest_piece(points, _VOXEL[1])]


def _volume(evidence: Sequence[ViewEvidence], points: np.ndarray, device: str) -> TsdfVolume:
    """All depth in one volume around points (P, 3)."""
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    # Flat and long things get as many voxels as others: finer ones keep the two sides of thin parts apart.
    voxel = min(float(np.linalg.norm(high - low)) / _CELLS, float(np.cbrt(np.prod(high - low) / _VOXELS)))
    volume = TsdfVolume.around(low, high, float(np.clip(voxel, *_VOXEL)), device)
    for one in evidence:
        one.integrate(volume)
    return volume


def _texture_views(evidence: Sequence[ViewEvidence]) -> list[TextureView]:
    """The part of each picture that shows the object."""
    views = []
    for one in evidence:
        view = one.view
        window, K = object_window(view, _AROUND)
        rgb = np.ascontiguousarray(view.rgb[window])
        views.append(TextureView(rgb, view.depth[window], K, one.pose, sharpness(rgb), view.mask[window]))
    return views


def _pose_change(evidence: Sequence[ViewEvidence]) -> dict[str, float]:
    moved = np.stack([one.pose @ np.linalg.inv(one.view.camera_in_object) for one in evidence])
    angle = rotation_angle(torch.from_numpy(moved[:, :3, :3]), torch.eye(3, dtype=torch.float64))
    return {
        "degrees": float(torch.rad2deg(angle).median()),
        "metres": float(np.median(np.linalg.norm(moved[:, :3, 3], axis=1))),
    }
