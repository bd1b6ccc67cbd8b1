"""The error that an observer could see: none for a symmetric object, plenty for a telling mark."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from learning.datasets.objects.mesh_pool import MeshPool
from learning.models.config import NetworkConfig
from learning.training.visible_difference import visible_difference
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh

K = torch.tensor([[[300.0, 0.0, 80.0], [0.0, 300.0, 80.0], [0.0, 0.0, 1.0]]])
SIZE = (160, 160)


def can(marked: bool) -> Mesh:
    """A grey can about z; a mark of another colour covers a quarter of its wall, on the -y side."""
    shape = trimesh.creation.cylinder(radius=0.3, height=0.8, sections=72)
    shape = shape.subdivide().subdivide()
    angle = np.arctan2(shape.vertices[:, 1], shape.vertices[:, 0])
    colors = np.full((len(shape.vertices), 3), 120, np.uint8)
    if marked:
        colors[np.abs(angle + math.pi / 2) < math.pi / 4] = (250, 20, 20)
    return Mesh(shape.vertices, shape.faces, shape.vertex_normals, colors=colors, name="can")


@pytest.fixture(scope="module")
def pool() -> MeshPool:
    background = np.full((8, 8, 3), 90, np.uint8)
    return MeshPool([can(marked=False), can(marked=True)], [background], torch.device("cpu"))


def difference(
    pool: MeshPool,
    mesh: int,
    change: torch.Tensor,
    start: float = 0.0,
    hidden: bool = False,
    colored: bool = True,
    K: torch.Tensor = K,
) -> float:
    """Of a can that stands upright 3 diameters away, its mark turned from the camera by `start`, and a changed pose."""
    upright = so3_exp(torch.tensor([math.pi / 2, 0.0, 0.0]))
    truth = make_transform(upright, torch.tensor([0.0, 0.0, 3.0]))[None] @ turned(start)
    return float(
        visible_difference(
            pool.renderer,
            (truth @ change)[:, None],
            truth,
            K,
            torch.full((1, *SIZE), hidden),
            torch.tensor([colored]),
            NetworkConfig(kind="scorer", input_size=96),
            torch.tensor([mesh]),
        )[0, 0]
    )


def turned(angle: float) -> torch.Tensor:
    return make_transform(so3_exp(torch.tensor([0.0, 0.0, angle])), torch.zeros(3))


def test_a_turn_about_its_axis_is_invisible_on_a_plain_can_only(pool: MeshPool) -> None:
    assert difference(pool, 0, turned(math.pi)) < 0.01
    assert difference(pool, 1, turned(math.pi)) > 0.15


def test_a_mark_counts_only_where_it_is_seen_and_the_mesh_has_colors(pool: MeshPool) -> None:
    assert difference(pool, 1, turned(math.pi), hidden=True) == 0.0
    assert difference(pool, 1, turned(math.pi), colored=False) < 0.01
    assert difference(pool, 1, turned(0.5), start=math.pi) < 0.02 < difference(pool, 1, turned(0.5))


def test_shifts_are_seen_and_grow(pool: MeshPool) -> None:
    seen = [
        difference(pool, 0, make_transform(torch.eye(3), torch.tensor([0.0, shift, 0.0]))) for shift in (0.0, 0.05, 0.2)
    ]
    assert seen[0] < 1e-3
    assert 0.04 < seen[1] < seen[2]


def test_what_is_outside_of_the_picture_tells_nothing(pool: MeshPool) -> None:
    outside = K.clone()
    assert difference(pool, 1, turned(2.0), K=outside) > 0.1
    outside[:, 0, 2] = -100.0  # the can's right edge is 55 pixels left of the border
    assert difference(pool, 1, turned(2.0), K=outside) == 0
