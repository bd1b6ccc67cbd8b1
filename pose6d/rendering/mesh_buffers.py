"""All meshes of a renderer, concatenated into a few flat tensors on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pose6d.errors import MeshError

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh


@dataclass(frozen=True)
class MeshBuffers:
    """B meshes as flat tensors. Rows of four are padded so that one 16-byte (or 4-byte) load fetches them on a GPU.

    Attributes:
        vertices: (V, 4) float32, metres; the last column is 0.
        normals: (V, 3) float32.
        uv: (V, 2) float32, v up; 0 for meshes without texture.
        colors: (V, 4) uint8 RGB; the last column is 0. Read for meshes without texture.
        faces: (F, 4) int32 rows of `vertices`; the last column is 0.
        vertex_start, face_start: (B + 1,) int32, mesh b owns rows start[b] to start[b + 1].
        texels: (T, 4) uint8 RGB, the last column is 0; textures row by row, top row first.
        texture_start: (B,) int64 first texel of each mesh.
        texture_size: (B, 2) int32 height and width of each texture, 0 for meshes without one.
        max_faces: of the mesh with the most.
    """

    vertices: torch.Tensor
    normals: torch.Tensor
    uv: torch.Tensor
    colors: torch.Tensor
    faces: torch.Tensor
    vertex_start: torch.Tensor
    face_start: torch.Tensor
    texels: torch.Tensor
    texture_start: torch.Tensor
    texture_size: torch.Tensor
    max_faces: int

    @property
    def count(self) -> int:
        """Number of meshes B."""
        return len(self.texture_start)

    @classmethod
    def from_meshes(cls, meshes: Sequence[Mesh], device: torch.device) -> MeshBuffers:
        """Concatenate and upload.

        Raises:
            MeshError: no meshes.
        """
        if not meshes:
            raise MeshError("a renderer needs at least one mesh, got an empty list")
        face_counts = [len(mesh.faces) for mesh in meshes]
        vertex_start, face_start = _starts([len(mesh.vertices) for mesh in meshes]), _starts(face_counts)
        textures = [mesh.texture for mesh in meshes if mesh.texture is not None]
        sizes = [(0, 0) if mesh.texture is None else mesh.texture.shape[:2] for mesh in meshes]

        faces = np.concatenate([mesh.faces for mesh in meshes]).astype(np.int32)
        faces += np.repeat(vertex_start[:-1], face_counts).astype(np.int32)[:, None]
        uv = [np.zeros((len(mesh.vertices), 2), np.float32) if mesh.uv is None else mesh.uv for mesh in meshes]
        colors = [
            np.zeros((len(mesh.vertices), 3), np.uint8) if mesh.colors is None else mesh.colors for mesh in meshes
        ]
        texels = [texture.reshape(-1, 3) for texture in textures] or [np.zeros((1, 3), np.uint8)]

        return cls(
            vertices=_pad(np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32), device),
            normals=_tensor(np.concatenate([mesh.normals for mesh in meshes]).astype(np.float32), device),
            uv=_tensor(np.concatenate(uv).astype(np.float32), device),
            colors=_pad(np.concatenate(colors), device),
            faces=_pad(faces, device),
            vertex_start=_tensor(vertex_start.astype(np.int32), device),
            face_start=_tensor(face_start.astype(np.int32), device),
            texels=_pad(np.concatenate(texels), device),
            texture_start=_tensor(_starts([height * width for height, width in sizes])[:-1].copy(), device),
            texture_size=_tensor(np.asarray(sizes, np.int32), device),
            max_faces=max(face_counts),
        )

    def replaced(self, first: int, meshes: Sequence[Mesh]) -> MeshBuffers:
        """The same meshes but those from index `first` on, for which `meshes` stand; copied on the device.

        Raises:
            MeshError: no meshes.
            ValueError: there are not so many meshes from `first` on.
        """
        new, last = MeshBuffers.from_meshes(meshes, self.vertices.device), first + len(meshes)
        if not 0 <= first < last <= self.count:
            raise ValueError(f"meshes {first} to {last - 1} are not among the {self.count} of these buffers")
        v0, v1, f0, f1 = (int(start[i]) for start in (self.vertex_start, self.face_start) for i in (first, last))
        t0 = int(self.texture_start[first])
        t1 = t0 + int(self.texture_size[first:last].long().prod(1).sum())
        # Counted, not len(texels): buffers without any texture hold one texel.
        texels, old_texels = (int(b.texture_size.long().prod(1).sum()) for b in (new, self))
        all_texels = torch.cat([self.texels[:t0], new.texels[:texels], self.texels[t1:old_texels]])
        vertices, faces = len(new.vertices) - (v1 - v0), len(new.faces) - (f1 - f0)
        step = self.faces.new_tensor([1, 1, 1, 0])
        face_start = torch.cat([self.face_start[:first], new.face_start[:-1] + f0, self.face_start[last:] + faces])
        return MeshBuffers(
            vertices=torch.cat([self.vertices[:v0], new.vertices, self.vertices[v1:]]),
            normals=torch.cat([self.normals[:v0], new.normals, self.normals[v1:]]),
            uv=torch.cat([self.uv[:v0], new.uv, self.uv[v1:]]),
            colors=torch.cat([self.colors[:v0], new.colors, self.colors[v1:]]),
            faces=torch.cat([self.faces[:f0], new.faces + v0 * step, self.faces[f1:] + vertices * step]),
            vertex_start=torch.cat(
                [self.vertex_start[:first], new.vertex_start[:-1] + v0, self.vertex_start[last:] + vertices]
            ),
            face_start=face_start,
            texels=all_texels if len(all_texels) else new.texels[:1],
            texture_start=torch.cat(
                [self.texture_start[:first], new.texture_start + t0, self.texture_start[last:] + texels - (t1 - t0)]
            ),
            texture_size=torch.cat([self.texture_size[:first], new.texture_size, self.texture_size[last:]]),
            max_faces=int(face_start.diff().max()),
        )


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _pad(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """(rows, 3) to (rows, 4); padded on the device, after the smaller copy to it."""
    return torch.nn.functional.pad(_tensor(array, device), (0, 1))
