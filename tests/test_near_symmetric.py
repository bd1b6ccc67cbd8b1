"""Nearly symmetric things: marks of the stated place, size and contrast, and objects whose sides only those tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from learning.datasets.objects.near_symmetric import NEAR_SYMMETRIC
from learning.datasets.objects.random_objects import make_object, make_objects
from learning.datasets.objects.shapes import Chart
from learning.datasets.objects.telling_marks import random_marks
from learning.datasets.surfaces.marks import MARKS, Mark, draw_mark
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import ALBEDO, Rendering

GROUND = np.full((80, 120, 3), 200, np.uint8)
HELD_OUT = 1_000_000
HELD_OUT_OBJECTS = {
    HELD_OUT + 0: (1980, 63.66, [0.999, 1.0, 0.2635]),
    HELD_OUT + 1: (2306, 104.27, [0.9952, 0.7375, 0.9105]),
    HELD_OUT + 2: (3696, 174.07, [0.7474, 0.518, 0.8381]),
    HELD_OUT + 3: (766, 123.18, [0.9872, 0.9878, 0.156]),
    HELD_OUT + 4: (760, 103.46, [0.4713, 0.6112, 0.6358]),
    HELD_OUT + 5: (2210, 74.29, [0.4317, 0.394, 0.9641]),
    HELD_OUT + 6: (1864, 86.04, [0.3959, 0.1792, 0.9838]),
    HELD_OUT + 7: (486, 87.57, [0.6385, 0.6884, 0.344]),
}


@pytest.fixture(scope="module")
def marked() -> list[Mesh]:
    return make_objects(range(90), workers=1, progress=False, family="marked")


@pytest.mark.parametrize("kind", sorted(MARKS))
def test_a_mark_lies_where_it_is_wanted_and_is_as_large_as_stated(kind: str) -> None:
    unit = np.sqrt(80 * 120)
    changed = (draw_mark(GROUND, Mark(kind, (0.75, 0.25), (0.3, 0.2), (0.0, 0.0, 0.0))) != GROUND).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert abs(rows.mean() - 60) < 6 and abs(columns.mean() - 90) < 8, "v runs up: low in the picture"
    assert 0.5 * 0.2 * unit < np.ptp(rows) <= 0.2 * unit + 2
    assert 0.5 * 0.3 * unit < np.ptp(columns) <= 0.3 * unit + 2


def test_the_opacity_is_the_contrast() -> None:
    mark = Mark("patch", (0.5, 0.5), (0.3, 0.3), (0.0, 0.0, 0.0))
    for opacity in (0.0, 0.25, 1.0):
        seen = draw_mark(GROUND, replace(mark, opacity=opacity))
        assert abs(int(seen[40, 60, 0]) - 200 * (1 - opacity)) <= 1
        np.testing.assert_array_equal(seen[:10], GROUND[:10])


def test_a_turned_mark_reads_along_v_and_one_outside_leaves_no_trace() -> None:
    mark = Mark("patch", (0.5, 0.5), (0.6, 0.1), (0.0, 0.0, 0.0))
    rows, columns = (np.ptp(axis) for axis in np.nonzero((draw_mark(GROUND, mark) != GROUND).any(2)))
    turned = np.nonzero((draw_mark(GROUND, replace(mark, turned=True)) != GROUND).any(2))
    assert columns > 4 * rows and np.ptp(turned[0]) > 4 * np.ptp(turned[1])
    np.testing.assert_array_equal(draw_mark(GROUND, replace(mark, centre=(3.0, 0.5))), GROUND)
    cut = (draw_mark(GROUND, replace(mark, centre=(1.0, 0.5))) != GROUND).any(2)
    assert cut[:, -1].any() and not cut[:, :60].any()


def test_marks_are_of_every_size_and_contrast_and_stay_on_their_chart() -> None:
    rng, found = np.random.default_rng(0), []
    for aspect in (0.2, 1.0, 4.0):
        chart, empty = Chart((0.0, 0.0, 1.0, 1.0), aspect), 0
        for _ in range(200):
            marks = random_marks(rng, np.full(3, 0.5), chart)
            empty += not marks
            found += marks
            for mark in marks:
                across = mark.size[::-1] if mark.turned else mark.size
                half = np.array(across) / [np.sqrt(aspect), 1 / np.sqrt(aspect)] / 2
                assert (np.array(mark.centre) - half > -1e-9).all() and (np.array(mark.centre) + half < 1 + 1e-9).all()
        assert 5 < empty < 60
    sizes, opacities = np.array([mark.size[0] for mark in found]), np.array([mark.opacity for mark in found])
    assert sizes.min() < 0.08 and sizes.max() > 0.6
    assert opacities.min() < 0.1 and opacities.max() > 0.9


def test_from_most_sides_they_look_the_same_in_shape_after_some_half_turn_and_their_colours_tell_or_not(
    marked: list[Mesh],
) -> None:
    renderer, count = make_renderer(marked, "cpu"), len(marked)
    R = random_rotations(count, generator=torch.Generator().manual_seed(0))
    K, index = torch.tensor([[160.0, 0, 31.5], [0, 160, 31.5], [0, 0, 1]]), torch.arange(count)

    def render(rotation: torch.Tensor) -> Rendering:
        poses = make_transform(rotation, torch.tensor([0, 0, 3.3]).expand(count, 3))
        return renderer.render(poses, K, (64, 64), mesh_index=index, shading=ALBEDO)

    seen, alike, told = render(R), torch.zeros(count, dtype=torch.bool), []
    for turn in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1]):
        other = render(R @ torch.diag(torch.tensor(turn)))
        both = seen.mask & other.mask
        overlap = both.sum((1, 2)) / (seen.mask | other.mask).sum((1, 2))
        step = ((seen.depth - other.depth).abs() * both).sum((1, 2)) / both.sum((1, 2))
        same = (overlap > 0.94) & (step < 0.02)
        differs = (((seen.color - other.color).abs().amax(3) > 0.1) & both).sum((1, 2)) / both.sum((1, 2))
        alike |= same
        told += differs[same].tolist()
    assert alike.float().mean() > 0.6
    assert 0.1 < np.mean(np.array(told) < 0.005) < 0.6, "some no picture tells apart"
    assert np.mean(np.array(told) > 0.05) > 0.25, "some are told at a glance"


def test_a_share_of_the_seeds_gives_marked_things_and_the_others_keep_their_objects() -> None:
    plain = [make_object(seed) for seed in range(40)]
    mixed = [make_object(seed, marked_share=0.5) for seed in range(40)]
    same = [np.array_equal(a.vertices, b.vertices) for a, b in zip(plain, mixed, strict=True)]
    assert 0.2 < np.mean(same) < 0.8
    for seed in np.flatnonzero(~np.array(same)):
        np.testing.assert_array_equal(make_object(int(seed), family="marked").texture, mixed[seed].texture)


def test_the_held_out_objects_of_the_benchmarks_stay_what_they_are() -> None:
    """Vertices, mean of the texture and spread along the axes, as of the first release that had them."""
    for seed, (vertices, brightness, extent) in HELD_OUT_OBJECTS.items():
        mesh = make_object(seed)
        assert len(mesh.vertices) == vertices
        assert float(mesh.texture.mean()) == pytest.approx(brightness, abs=0.02)
        np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), extent, atol=1e-4)


def test_kinds_have_names_of_their_own() -> None:
    from learning.datasets.objects import cad, hollow, household, packages, sheets_and_tools

    others = [
        sheets_and_tools.THIN,
        sheets_and_tools.ARTICULATED,
        hollow.HOLLOW,
        cad.CAD,
        packages.PACKAGES,
        household.TOYS,
    ]
    others += [household.APPLIANCES, household.FRUIT, household.MARKED]
    assert not set(NEAR_SYMMETRIC) & {name for group in others for name in group}
