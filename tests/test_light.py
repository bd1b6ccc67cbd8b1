"""The light that fits: found again where colours were drawn in one, and what it explains no longer counts as wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from learning.inference.relight import relight
from pose6d.geometry.observation import observe
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering.light import fit_light, lit_colors
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses, Scores
from tests.estimater_scene import K, random_networks, render_scene
from tests.rendering_scenes import box


def surface(views: int = 2, pixels: int = 900) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(views, 3, pixels, generator=generator)
    return torch.rand(views, 3, pixels, generator=generator), normalize(normal, dim=1)


def test_a_light_is_found_again_from_the_pixels_that_count() -> None:
    albedo, normal = surface()
    light = 0.3 * torch.randn(2, 1, 3, 8, generator=torch.Generator().manual_seed(1))
    color = lit_colors(albedo, normal, light)[:, 0]
    weight = torch.ones(2, 3, color.shape[-1])
    weight[:, 1, :300], color[:, :, :300] = 0.0, 1.0  # covered by something else
    found = fit_light(albedo, normal, color, weight)
    assert (found - light)[:, 1].abs().max() < 0.05 < (found - light)[:, 0].abs().max()
    torch.testing.assert_close(found[:, 0], found[:, 2])


def test_colours_seen_in_another_light_become_those_drawn_and_wrong_print_stays() -> None:
    albedo, normal = (x.view(2, 3, 30, 30) for x in surface())
    drawn = albedo * 0.9
    xyz = torch.full((2, 3, 30, 30), 0.02)  # near the middle of the object, where 0 for missing depth is near, too
    light = torch.tensor([0.5, 0.1, 0.0, -0.1, 0.05, 0.0, 0.0, 0.0]).expand(2, 1, 3, 8)
    seen = lit_colors(albedo.flatten(-2), normal.flatten(-2), light)[:, 0].view_as(albedo).clone()
    seen[1, :, 10:14, 10:14] += 0.4  # print that the mesh has not
    A, B = torch.cat([drawn, xyz], 1), torch.cat([seen, xyz], 1)
    B[:, 3:, :4] = 0.0  # nothing seen there: colours stay
    B[:, 3:, 4] += 0.2  # another surface
    before = B.clone()
    relight(A, B, albedo, normal)
    torch.testing.assert_close(B[:, 3:], before[:, 3:])
    torch.testing.assert_close(B[:, :3, :5], before[:, :3, :5])
    assert (B - A)[0, :3, 5:].abs().max() < 0.02 < (before - A)[0, :3, 5:].abs().mean()
    assert (B - A)[1, :3, 10:14, 10:14].mean() > 0.25
    assert B[:, :3].max() <= 1


@pytest.mark.parametrize("fitted", [True, False])
def test_only_a_judge_that_was_fitted_so_looks_past_the_colour_of_light(fitted: bool) -> None:
    scene = render_scene(box(), make_transform(so3_exp(torch.tensor([0.4, -0.3, 0.2])), torch.tensor([0.0, 0.0, 0.6])))
    tinted = (scene.rgb * np.array([0.9, 0.6, 0.3])).astype(np.uint8)
    frames = [observe(rgb, scene.depth, K) for rgb in (scene.rgb, tinted)]
    object = RenderedObject.from_mesh(scene.mesh.centered(), "cpu")
    pose = Hypotheses(torch.as_tensor(scene.truth)[None])
    pose.poses[0, :3, 3] += pose.poses[0, :3, :3] @ torch.as_tensor(scene.mesh.center, dtype=torch.float32)
    scorer = random_networks()["scorer"]
    scorer.config = replace(scorer.config, judge_weights=(1.0, 0.0, 0.0) if fitted else ())

    def differ(how: Callable[..., Scores]) -> float:
        plain, other = (how(pose, object, frame).confidence for frame in frames)
        assert plain is not None and other is not None
        return float((plain.logit() - other.logit()).abs())

    assert differ(scorer.predict) > 0.1, "the search goes by the colours as they are"
    assert differ(scorer.judge) < 0.02 if fitted else differ(scorer.judge) == differ(scorer.predict)


def test_a_judge_is_surer_of_the_side_whose_print_is_seen() -> None:
    scene = render_scene(box(), make_transform(so3_exp(torch.tensor([0.4, -0.3, 0.2])), torch.tensor([0.0, 0.0, 0.6])))
    frame = observe(scene.rgb, scene.depth, K)
    object = RenderedObject.from_mesh(scene.mesh.centered(), "cpu")
    pose = torch.as_tensor(scene.truth)
    pose[:3, 3] += pose[:3, :3] @ torch.as_tensor(scene.mesh.center, dtype=torch.float32)
    turned = pose @ make_transform(torch.diag(torch.tensor([-1.0, -1.0, 1.0])), torch.zeros(3))
    poses = Hypotheses(torch.stack([pose, turned]))
    scorer = random_networks()["scorer"]

    def odds(texture: float) -> torch.Tensor:
        scorer.config = replace(scorer.config, judge_weights=(1.0, texture, 0.0))
        judged = scorer.judge(poses, object, frame).confidence
        assert judged is not None
        return judged.logit()

    gained = odds(4.0) - odds(0.0)
    assert gained[0] > 2 and gained[0] > gained[1] + 1
