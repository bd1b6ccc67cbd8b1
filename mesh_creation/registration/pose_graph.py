"""Making the camera poses agree with each other: a pose graph of keyframes and the board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d

_SCALE = 0.01  # metres, the distance of correspondences that the line process goes by
_BOARD = 0  # the node that stands for the board


@dataclass(frozen=True)
class Edge:
    """A measured relative pose.

    Attributes:
        source, target: keyframes; target -1 is the board.
        transform: (4, 4) source in target.
        information: (6, 6) inverse covariance of a motion of the source in its own axes.
        loop: it may be wrong and be switched off; false for edges that are known to hold.
    """

    source: int
    target: int
    transform: np.ndarray
    information: np.ndarray
    loop: bool = True


@dataclass(frozen=True)
class OptimizedPoses:
    """Poses after optimisation, and which edges it believed.

    Attributes:
        camera_in_board: (4, 4) by keyframe.
        kept: the loop edges that were kept.
        dropped: the loop edges that were switched off.
    """

    camera_in_board: dict[int, np.ndarray]
    kept: list[Edge]
    dropped: list[Edge]


def optimize(start: Mapping[int, np.ndarray], edges: Sequence[Edge]) -> OptimizedPoses:
    """Optimise all keyframes together; the board stays where it is.

    Choi, Zhou and Koltun, "Robust Reconstruction of Indoor Scenes" (2015): a line process switches off the loop edges
    that contradict the rest. Levenberg-Marquardt by Open3D.

    Args:
        start: camera in board (4, 4) by keyframe.
        edges: between keyframes, and to the board.
    """
    method = o3d.pipelines.registration
    number = {frame: i + 1 for i, frame in enumerate(sorted(start))} | {-1: _BOARD}
    graph = method.PoseGraph()
    graph.nodes.append(method.PoseGraphNode(np.eye(4)))
    for frame in sorted(start):
        graph.nodes.append(method.PoseGraphNode(np.asarray(start[frame], np.float64)))
    for edge in edges:
        graph.edges.append(
            method.PoseGraphEdge(
                number[edge.source], number[edge.target], edge.transform, edge.information, uncertain=edge.loop
            )
        )
    option = method.GlobalOptimizationOption(
        max_correspondence_distance=_SCALE,
        edge_prune_threshold=0.25,
        preference_loop_closure=1.0,
        reference_node=_BOARD,
    )
    # Open3D's own criteria, with an end in sight for graphs that are already at their best.
    criteria = method.GlobalOptimizationConvergenceCriteria()
    criteria.max_iteration = 30
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        method.global_optimization(graph, method.GlobalOptimizationLevenbergMarquardt(), criteria, option)
    board = np.linalg.inv(graph.nodes[_BOARD].pose)
    believed = {(edge.source_node_id, edge.target_node_id) for edge in graph.edges}
    kept: list[Edge] = []
    dropped: list[Edge] = []
    for edge in edges:
        if edge.loop:
            (kept if (number[edge.source], number[edge.target]) in believed else dropped).append(edge)
    poses = {frame: board @ graph.nodes[number[frame]].pose for frame in start}
    return OptimizedPoses(poses, kept, dropped)
