"""Rendering on CPU tensors; the drawing itself is in `cpu_kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pose6d.pieces import even_slices, run_pieces
from pose6d.rendering import cpu_kernels
from pose6d.rendering.backend import DrawCall, MeshRenderer
from pose6d.rendering.interface import Rendering

_draw: Any = cpu_kernels.draw  # numba's own annotations know neither its arguments nor its settings
_PIECE = 16  # images


class CpuRenderer(MeshRenderer):
    """The `Renderer` for CPU tensors; uses as many threads as PyTorch."""

    def draw(self, call: DrawCall) -> Rendering:
        """See `MeshRenderer.draw`.

        Raises:
            ValueError: an index names a mesh or an image that does not exist.
        """
        count, images = len(call.poses), call.images
        mesh_of = np.zeros(count, np.int64) if call.mesh_index is None else call.mesh_index.numpy()
        image_of = np.arange(count) if call.image_index is None else call.image_index.numpy()
        _check_index("mesh_index", mesh_of, self.buffers.count)
        _check_index("image_index", image_of, images)
        order = np.argsort(image_of, kind="stable")
        first = np.searchsorted(image_of[order], np.arange(images + 1))

        shape = (images, call.height, call.width)
        color = torch.empty((*shape, 3))
        xyz = torch.empty((*shape, 3))
        normal = torch.empty((*shape, 3)) if call.normals else torch.empty((0, 0, 0, 3))
        instance = torch.empty(shape, dtype=torch.int32)
        b = self.buffers
        arguments = (
            *(t.numpy() for t in (b.vertices, b.normals, b.uv, b.colors, b.faces, b.vertex_start, b.face_start)),
            *(b.texels.numpy().view(np.int32)[:, 0], b.texture_start.numpy(), b.texture_size.numpy()),
            *(call.poses.numpy(), call.K.numpy(), mesh_of, order, first),
            *(np.float32(call.shading.ambient), np.float32(call.shading.headlight), np.float32(call.near)),
            *(color.numpy(), xyz.numpy(), normal.numpy(), instance.numpy()),
        )
        run_pieces(lambda rows: _draw(*arguments, rows.start, rows.stop), even_slices(images, _PIECE))
        return Rendering(color=color, xyz=xyz, normal=normal if call.normals else None, instance=instance)


def _check_index(name: str, index: np.ndarray, count: int) -> None:
    if len(index) and (index.min() < 0 or index.max() >= count):
        raise ValueError(f"{name} runs from {index.min()} to {index.max()}, expected 0 to {count - 1}")
