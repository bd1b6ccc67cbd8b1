"""Rendering through nvdiffrast, for users who have it: an adapter to its documented PyTorch interface.

nvdiffrast (Laine et al., "Modular primitives for high-performance differentiable rendering", 2020) is licensed for
non-commercial use only, so this project neither needs nor installs it; the `cuda` backend does the same work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from pose6d.errors import MissingDependencyError
from pose6d.rendering.backend import DrawCall, MeshRenderer
from pose6d.rendering.interface import Rendering

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh

_FAR = 100.0  # metres
_TILE = 8  # images are drawn with sides of a multiple of this, as the CUDA rasteriser wants, and cut to size


class NvdiffrastRenderer(MeshRenderer):
    """The `Renderer` of one mesh with one instance per image.

    Raises:
        MissingDependencyError: nvdiffrast is not installed.
        ValueError: more than one mesh.
    """

    def __init__(self, meshes: Sequence[Mesh], device: torch.device | str = "cuda") -> None:
        try:
            import nvdiffrast.torch as dr
        except ImportError as error:
            raise MissingDependencyError(
                f"backend 'nvdiffrast' cannot import its package ({error}): install it from its own repository, or use "
                "the faster backend 'cuda' (pip install 'pose6d[gpu]')"
            ) from error
        if len(meshes) != 1:
            raise ValueError(f"backend 'nvdiffrast' draws one mesh, got {len(meshes)}: use backend 'cuda'")
        super().__init__(meshes, device)
        self._dr = dr
        self._context = dr.RasterizeCudaContext(device=self.device)
        buffers = self.buffers
        self._vertices = torch.nn.functional.pad(buffers.vertices[:, :3], (0, 1), value=1.0)
        self._normals = buffers.normals
        self._faces = buffers.faces[:, :3].contiguous()
        self._uv = buffers.uv * buffers.uv.new_tensor([1.0, -1.0]) + buffers.uv.new_tensor([0.0, 1.0])  # v down
        self._colors = buffers.colors[:, :3].float() / 255
        self._texture: torch.Tensor | None = None
        height, width = (int(length) for length in buffers.texture_size[0])
        if height:
            self._texture = buffers.texels[:, :3].float().reshape(1, height, width, 3) / 255

    def draw(self, call: DrawCall) -> Rendering:
        """See `MeshRenderer.draw`; mesh_index is ignored, since there is one mesh.

        Raises:
            ValueError: image_index is given.
        """
        if call.image_index is not None:
            raise ValueError("backend 'nvdiffrast' draws one instance per image, without image_index: use 'cuda'")
        shape = (call.images, call.height, call.width)
        if call.images == 0:
            empty = torch.zeros((*shape, 3), device=self.device)
            none = torch.zeros(shape, dtype=torch.int32, device=self.device)
            return Rendering(
                color=empty, xyz=empty.clone(), normal=empty.clone() if call.normals else None, instance=none
            )

        padded = [-(-length // _TILE) * _TILE for length in (call.height, call.width)]
        in_camera = self._vertices @ call.poses.mT  # (N, V, 4)
        clip = in_camera @ _clip_from_camera(call.K, padded[0], padded[1], call.near).mT  # (N, V, 4)
        raster, _ = self._dr.rasterize(self._context, clip.contiguous(), self._faces, resolution=padded)
        raster = raster[:, : call.height, : call.width].contiguous()
        hit = raster[..., 3:] > 0  # (N, H, W, 1)

        z, _ = self._dr.interpolate(in_camera[..., 2:3].contiguous(), raster, self._faces)
        xyz = torch.where(hit, z * _rays(call.K, call.height, call.width), 0.0)
        turned = self._normals @ call.poses[:, :3, :3].mT  # (N, V, 3)
        normal, _ = self._dr.interpolate(turned.contiguous(), raster, self._faces)
        normal = normalize(normal, dim=-1)
        # By the ray: unlike the other backends, smooth normals that point past a silhouette turn over.
        normal = torch.where((normal * xyz).sum(-1, keepdim=True) > 0, -normal, normal)

        if self._texture is None:
            albedo, _ = self._dr.interpolate(self._colors[None].contiguous(), raster, self._faces)
        else:
            uv, _ = self._dr.interpolate(self._uv[None].contiguous(), raster, self._faces)
            albedo = self._dr.texture(self._texture, uv.contiguous(), filter_mode="linear", boundary_mode="wrap")
        light = call.shading.ambient + call.shading.headlight * (-normal[..., 2:]).clamp(min=0)
        color = torch.where(hit, (albedo * light).clamp(0, 1), 0.0)
        index = torch.arange(call.images, dtype=torch.int32, device=self.device)[:, None, None]
        return Rendering(
            color=color,
            xyz=xyz,
            normal=torch.where(hit, normal, 0.0) if call.normals else None,
            instance=torch.where(hit[..., 0], index, -1),
        )


def _clip_from_camera(K: torch.Tensor, height: int, width: int, near: float) -> torch.Tensor:
    """(N, 4, 4) OpenGL projection whose row 0 is the image's top row and whose pixel centres are integers."""
    clip = torch.zeros((len(K), 4, 4), device=K.device)
    clip[:, 0, 0] = 2 * K[:, 0, 0] / width
    clip[:, 0, 1] = 2 * K[:, 0, 1] / width
    clip[:, 0, 2] = 2 * (K[:, 0, 2] + 0.5) / width - 1
    clip[:, 1, 1] = 2 * K[:, 1, 1] / height
    clip[:, 1, 2] = 2 * (K[:, 1, 2] + 0.5) / height - 1
    clip[:, 2, 2] = (_FAR + near) / (_FAR - near)
    clip[:, 2, 3] = -2 * _FAR * near / (_FAR - near)
    clip[:, 3, 2] = 1
    return clip


def _rays(K: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N, H, W, 3) points at depth 1 seen by the pixels."""
    y, x = torch.meshgrid(
        torch.arange(height, device=K.device, dtype=torch.float32),
        torch.arange(width, device=K.device, dtype=torch.float32),
        indexing="ij",
    )
    fx, skew, cx, fy, cy = (K[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    ray_y = (y - cy) / fy
    ray_x = (x - cx - skew * ray_y) / fx
    return torch.stack([ray_x, ray_y, torch.ones_like(ray_x)], dim=-1)
