"""From reference views to a textured mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mesh_creation.fusion.closed_surface import ClosedSurface, close_surface, decimate
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.fusion.uv_atlas import atlas_size, paint, spread_colors, unwrap
from mesh_creation.fusion.view_blending import TextureView, ViewBlender
from mesh_creation.object_field.pose_refinement import refine_poses
from mesh_creation.object_field.view_evidence import ViewEvidence, collect_evidence, largest_piece
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.registration.keyframes import sharpness
from pose6d.device import resolve_device
from pose6d.mesh.mesh import Mesh

_MARGIN = 0.006  # metres around the points that the volume covers
_CELLS = 180  # voxels along the diagonal of the box, at most
_SMOOTHING = 0.7  # times the noise
_SMOOTHED = 0.6, 2.0  # voxels
_VOXEL = 0.0005, 0.003  # metres


@dataclass(frozen=True)
class ObjectOptions:
    """How an object is made from views."""

    faces: int = 20_000
    """most triangles of the mesh"""
    texel: float = 0.0004
    """metres of surface that one pixel of the texture covers"""
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
            metres, median.
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
    3. All depth in one volume; its surface, closed and decimated.
    4. Colours and texture from the pictures.

    Raises:
        SceneError: the views show no surface.
    """
    device = resolve_device(options.device)
    evidence = collect_evidence(views)
    if options.refine_poses:
        refine_poses(evidence, device)
    volume, points = _volume(evidence, str(device))
    surface = decimate(close_surface(volume, points, None, _smoothing(evidence, volume)), options.faces)
    mesh = Mesh(vertices=surface.vertices, faces=surface.faces, name=options.name)
    blender = ViewBlender(mesh, _texture_views(evidence))
    vertices, normals = mesh.vertices.astype(np.float64), mesh.normals.astype(np.float64)
    colors, trust = blender.colors(vertices, normals)
    colors = spread_colors(vertices, colors, trust > 0)
    size = atlas_size(mesh, options.texel)
    textured, painted = paint(unwrap(mesh, size), size, blender.colors)
    colored = Mesh(
        vertices=mesh.vertices,
        faces=mesh.faces,
        normals=mesh.normals,
        colors=np.clip(np.round(colors), 0, 255).astype(np.uint8),
        name=options.name,
    )
    quality = {
        "views": len(views),
        "voxel": volume.voxel,
        "seen_share": 1.0 - _area_share(surface),
        "texture_seen_share": painted,
        "pose_change": _pose_change(evidence),
    }
    return MadeObject(textured, colored, surface.filled, np.stack([one.pose for one in evidence]), quality)


def _volume(evidence: Sequence[ViewEvidence], device: str) -> tuple[TsdfVolume, np.ndarray]:
    """All depth in one volume around the object, and points (P, 3) of its surface."""
    points = np.concatenate([one.points[::5] for one in evidence])
    points = points[largest_piece(points, _VOXEL[1])]
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    voxel = float(np.clip(np.linalg.norm(high - low) / _CELLS, *_VOXEL))
    volume = TsdfVolume.around(low, high, voxel, device)
    for one in evidence:
        one.integrate(volume)
    return volume, points


def _smoothing(evidence: Sequence[ViewEvidence], volume: TsdfVolume) -> float:
    """Voxels over which distances are smoothed: as many as the noise of the depth asks for."""
    off = np.concatenate([volume.sample(one.points[::7]) for one in evidence])
    off = off[np.abs(off) < 0.95 * volume.truncation]
    noise = 1.48 * float(np.median(np.abs(off))) if len(off) else 0.0
    return float(np.clip(_SMOOTHING * noise / volume.voxel, *_SMOOTHED))


def _texture_views(evidence: Sequence[ViewEvidence]) -> list[TextureView]:
    sharp = np.array([sharpness(one.view.rgb) for one in evidence])
    relative = np.clip(sharp / max(float(np.median(sharp)), 1e-9), 0.3, 1.5)
    return [
        TextureView(one.view.rgb, one.view.depth, one.view.K, one.pose, float(share), one.view.mask)
        for one, share in zip(evidence, relative, strict=True)
    ]


def _area_share(surface: ClosedSurface) -> float:
    """Share of the surface's area that no view shows."""
    a, b, c = np.moveaxis(surface.vertices[surface.faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return float(area[surface.filled].sum() / area.sum())


def _pose_change(evidence: Sequence[ViewEvidence]) -> dict[str, float]:
    moved = np.stack([one.pose @ np.linalg.inv(one.view.camera_in_object) for one in evidence])
    cosine = np.clip((np.trace(moved[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)
    return {
        "degrees": float(np.median(np.degrees(np.arccos(cosine)))),
        "metres": float(np.median(np.linalg.norm(moved[:, :3, 3], axis=1))),
    }
