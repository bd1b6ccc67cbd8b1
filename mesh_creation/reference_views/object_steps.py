"""The long steps of making an object from views, each kept when it is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mesh_creation.fusion.mesh_folder import mesh_arrays, mesh_from_arrays
from mesh_creation.object_field.make_object import MadeObject, ObjectOptions, make_object
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.reference_views.view_quality import ViewQuality, judge_views, mean_motion
from mesh_creation.step_files import StepFolder

_FEWEST_LEFT = 3  # views that an object is still made of, where one is held out


@dataclass(frozen=True)
class HeldOut:
    """What an object that was made without some views makes of them.

    Attributes:
        views: one for each view that was held out.
        explanation: how it was done, for people.
    """

    views: list[ViewQuality]
    explanation: str


def load_or_make_object(
    views: Sequence[ReferenceView], options: ObjectOptions, steps: StepFolder, step: str = "object"
) -> MadeObject:
    """The object of these views; kept as a step."""

    def make() -> dict[str, Any]:
        made = make_object(views, options)
        arrays = {f"mesh_{key}": values for key, values in mesh_arrays(made.mesh).items()}
        arrays |= {f"colored_{key}": values for key, values in mesh_arrays(made.colored).items()}
        quality = json.dumps(made.quality, default=lambda value: np.asarray(value).tolist())
        return {**arrays, "unseen": made.unseen, "camera_in_object": made.camera_in_object, "quality": quality}

    done = steps.load_or_make(step, make)
    mesh, colored = (mesh_from_arrays(_part(done, prefix), options.name) for prefix in ("mesh_", "colored_"))
    return MadeObject(mesh, colored, done["unseen"], done["camera_in_object"], json.loads(str(done["quality"])))


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}


def hold_out(
    views: Sequence[ReferenceView], made: MadeObject, options: ObjectOptions, count: int, steps: StepFolder
) -> HeldOut:
    """Make the object again without `count` views, those that others come nearest to, and compare it with them.

    Their poses are those that the object of all views has refined, moved into the frame of the other one.

    Args:
        views: all.
        made: of all.
        options: how.
        count: how many; fewer where else less than three were left.
        steps: where the second object is kept.
    """
    count = min(count, len(views) - _FEWEST_LEFT)
    if count < 1:
        return HeldOut([], "no view was held out: quality.png shows views that the mesh was made of")
    chosen = _most_alike(made.camera_in_object, count)
    rest = [index for index in range(len(views)) if index not in chosen]
    other = load_or_make_object([views[index] for index in rest], options, steps, "held_out")
    motion = mean_motion(made.camera_in_object[rest], other.camera_in_object)
    qualities = judge_views(other.mesh, [views[i] for i in chosen], motion @ made.camera_in_object[chosen])
    return HeldOut(
        qualities,
        f"a second mesh was made of the other {len(rest)} views; the poses of those held out are as refined with all",
    )


def _most_alike(poses: np.ndarray, count: int) -> list[int]:
    """Indices of the views (N, 4, 4) that look most like another one, one after the other."""
    directions = poses[:, :3, 2]
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -1)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(np.argmax(cosines.max(axis=1))))
        cosines[chosen[-1]], cosines[:, chosen[-1]] = -1, -1
    return sorted(chosen)
