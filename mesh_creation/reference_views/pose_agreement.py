"""Views whose poses contradict what the other views show are refused, by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from mesh_creation.reference_views.pose_convention import AGREE
from mesh_creation.reference_views.pose_evidence import PairFits, ViewSurface, fit_pairs
from pose6d.errors import SceneError, shorten

_CLEARLY = 0.3  # the mean share of points against poses that parts groups of views
_MANY = 4  # views, from which on a view is judged by all others together
_LEAST_MET = 0.05  # share of its points that a view has to share with some other view

_CURE = (
    "Is the pose of another frame or object (wanted: the camera in the frame of this object, metres, OpenCV axes), was "
    "the object moved or bent between the views, or the depth unit wrong (--depth_scale)? Correct the pose, or leave "
    "the view out (--leave_out {name})"
)


def check_agreement(
    names: Sequence[str], evidence: Sequence[ViewSurface], camera_in_object: np.ndarray, found: str = ""
) -> None:
    """Raise SceneError, which names the views, where views contradict one another or have nothing in common.

    Args:
        names: of the views.
        evidence: of each.
        camera_in_object: (N, 4, 4) metres, OpenCV axes.
        found: what is known of the poses, for the message.
    """
    found = f" ({found})" if found else ""
    if len(names) < 2:
        return
    fits = fit_pairs(evidence, camera_in_object)
    labels = _groups(fits)
    if labels.any():
        raise SceneError(_contradiction(names, labels, found))
    lonely = [name for name, met in zip(names, fits.met, strict=True) if met.max() < _LEAST_MET]
    if lonely:
        raise SceneError(
            f"view {shorten(lonely)} has no part of the object in common with any other view: views are put together "
            "by what they share. Add views between them, or leave it out (--leave_out "
            f"{_short(lonely[0])}); if the masks are of different objects, choose one"
        )


def _groups(fits: PairFits) -> np.ndarray:
    """(N,) a number for each view, the same for views that agree on average."""
    tree = linkage(squareform(fits.against, checks=False), "average")
    return fcluster(tree, _CLEARLY if len(fits.against) >= _MANY else AGREE, "distance") - 1


def _contradiction(names: Sequence[str], labels: np.ndarray, found: str) -> str:
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    groups = [[name for name, label in zip(names, labels, strict=True) if label == group] for group in order]
    main, rest = groups[0], [name for group in groups[1:] for name in group]
    if len(main) == 1 or len(main) <= len(names) / 3:
        return (
            f"the poses of the views {shorten(list(names))} contradict one another: their depth does not meet{found}. "
            f"{_CURE.format(name='NAME')}"
        )
    if len(groups[1]) > 1 and len(main) + len(groups[1]) > 0.75 * len(names):
        return (
            f"the object has moved: the views {shorten(main)} agree with one another, and {shorten(rest)} contradict "
            f"them{found}. Make an object of one group only (--leave_out with the names of the other), or correct the "
            "poses"
        )
    return (
        f"the pose of view {shorten(rest)} contradicts the depth of the {len(main)} views that agree with one another: "
        f"its points lie where those show that the object is not{found}. {_CURE.format(name=_short(rest[0]))}"
    )


def _short(name: str) -> str:
    """What --leave_out takes."""
    return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name
