"""The steps of a registration: each takes hypotheses and gives new ones, takes its time, and tells who watches."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from pose6d.geometry.observation import Observation
from pose6d.search.alignment import align_poses
from pose6d.search.alternatives import weigh
from pose6d.search.axis_rotations import AxisRotations, propose_rotations, refine_rotations
from pose6d.search.ball_rotations import BallColors
from pose6d.search.cuda_graphs import side_by_side
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.hypotheses import near_mask
from pose6d.search.interfaces import ChoiceWeights, Hypotheses, ObjectModel, Progress, Refiner, Scorer, Scouts, Watch
from pose6d.search.long_bodies import LongBody
from pose6d.search.look_alike import look_alike
from pose6d.search.pair_evidence import PairEvidence, compare_poses
from pose6d.search.schedule import RotationStage, Stage
from pose6d.search.texture_correlation import texture_correlation
from pose6d.search.visible_shape import explained_share

_ELSEWHERE = 1e4  # off the ranking of what has gone over to another thing: such poses come last
_EXPLAINED = 10.0  # what all of a mask that is explained adds to the ranking of a long thing
# The share explained with which a long thing is half believed to be there, and within what: along some line under the
# mask of another thing, a fork is found, too.
_LEAST_EXPLAINED, _SPREAD, _MOST_OF_MASK = 0.2, 0.06, 2.0


def watch_original(watch: Watch, centred_from_original: Tensor) -> Watch:
    """One that sees poses of the original object where `SearchSteps` shows it those of the centred one.

    Args:
        watch: of the original object's poses.
        centred_from_original: (4, 4).
    """
    return lambda step, poses, parents: watch(step, poses @ centred_from_original, parents)


class SearchSteps:
    """The steps, on one frame.

    Args:
        object: to be found.
        refiner, scorer: see there.
        observation: the frame, with its depth filtered.
        mask: (H, W) bool of the object.
        middle: (2,) pixels, of the mask.
        runner: takes the time.
        progress: called with the number of pairs of images that a network has seen since the last call.
        watch: called after each step with poses of the centred object.
        long: of a long thing. Among its poses, those are selected that explain depth and mask, and none is refined to
            where it explains less.
    """

    def __init__(
        self,
        object: ObjectModel,
        refiner: Refiner,
        scorer: Scorer,
        observation: Observation,
        mask: Tensor,
        middle: Tensor,
        runner: DeviceRunner,
        progress: Progress | None = None,
        watch: Watch | None = None,
        long: LongBody | None = None,
    ):
        self._object, self._refiner, self._scorer, self._observation = object, refiner, scorer, observation
        self._mask, self._middle, self._long = mask, middle, long
        self._stage, self._progress, self._watch = runner.stage, progress, watch

    def by(self, networks: Scouts | None) -> SearchSteps:
        """The same steps, done by other networks; by the same ones where None."""
        if networks is None:
            return self
        steps = copy.copy(self)
        steps._refiner, steps._scorer = networks
        return steps

    def start(self, hypotheses: Hypotheses) -> Hypotheses:
        """Nothing is done to them yet."""
        return self._tell("start", hypotheses)

    def narrow(self, hypotheses: Hypotheses, stages: Iterable[Stage], scouts: Scouts | None) -> Hypotheses:
        """What the stages of a schedule leave; scouts do those that are theirs."""
        for stage in stages:
            own = self.by(scouts) if stage.scouted else self
            hypotheses = own.refine(hypotheses, stage.steps)
            if stage.top_k is not None:
                hypotheses = self.select(own.score(hypotheses), stage.top_k, stage.nms_degrees)
        return hypotheses

    def refine(self, hypotheses: Hypotheses, steps: int, first: int = 0) -> Hypotheses:
        """Refined so many times; those before `first` stay as they are."""
        stay, moving = hypotheses.poses[:first], replace(hypotheses, poses=hypotheses.poses[first:], features=None)
        at_once = steps if self._watch is None else 1
        with self._stage("refine"):
            for _ in range(0, steps, at_once):
                poses = self._refiner.predict(moving, self._object, self._observation, at_once, self._progress)
                moving = Hypotheses(poses)
                refined = Hypotheses(torch.cat([stay, poses]), features=hypotheses.features) if first else moving
                self._tell("refine", refined)
        return refined

    def settle(self, hypotheses: Hypotheses, steps: int) -> Hypotheses:
        """Refined so many times; of a long thing, a pose that explains less afterwards stays as it was."""
        refined = self.refine(hypotheses, steps)
        if self._long is None:
            return refined
        with self._stage("explain"):
            both = torch.cat([hypotheses.poses, refined.poses])
            before, after = explained_share(both, self._object, self._observation, self._mask).chunk(2)
            poses = torch.where((after < before)[:, None, None], hypotheses.poses, refined.poses)
        return self._tell("explain", Hypotheses(poses))

    def score(self, hypotheses: Hypotheses) -> Hypotheses:
        """Ranked by the scorer, and judged."""
        with self._stage("score"):
            scores = self._scorer.predict(hypotheses, self._object, self._observation, self._progress)
        ranking, confidence, features = scores
        return replace(hypotheses, ranking=ranking, confidence=confidence, features=features)

    def add_texture(self, hypotheses: Hypotheses) -> Hypotheses:
        """Ranked by how well their texture agrees, too, as far as the scorer lets it have a say."""
        if not self._scorer.texture_weight:
            return hypotheses
        assert hypotheses.ranking is not None
        agreement = self._agreement(hypotheses)
        return replace(hypotheses, ranking=hypotheses.ranking + self._scorer.texture_weight * agreement)

    def select(self, hypotheses: Hypotheses, top_k: int, nms_degrees: float) -> Hypotheses:
        """The distinct ones that rank highest."""
        assert hypotheses.ranking is not None
        poses, ranking = hypotheses.poses, hypotheses.ranking
        if self._long is not None:
            with self._stage("explain"):
                ranking = ranking + _EXPLAINED * explained_share(poses, self._object, self._observation, self._mask)
        near = near_mask(poses, self._middle, self._observation.K, self._object.diameter)
        ranking = torch.where(near, ranking, ranking - _ELSEWHERE)
        chosen = select_distinct(poses, ranking, top_k, self._object.diameter, nms_degrees)
        return self._take("select", hypotheses, chosen)

    def sort(self, hypotheses: Hypotheses) -> Hypotheses:
        """All, best first."""
        assert hypotheses.ranking is not None
        return self._take("sort", hypotheses, torch.argsort(hypotheses.ranking, descending=True, stable=True))

    def along_line(self, start: Tensor, count: int) -> Tensor:
        """Poses (N, 4, 4) of a long thing along the line that was seen from about (3,) metres; of other things none."""
        if self._long is None or not count:
            return start.new_empty(0, 4, 4)
        start = start.nan_to_num(1.0, 1.0, 1.0)
        with self._stage("explain"):
            return self._long.propose(start, self._object, self._observation, self._mask, count)

    def join(self, hypotheses: Hypotheses, poses: Tensor) -> Hypotheses:
        """The hypotheses, then more poses (N, 4, 4), which do not come from any of them."""
        if not len(poses):
            return hypotheses
        origins = torch.arange(len(hypotheses) + len(poses), device=poses.device) % len(hypotheses)
        joined = Hypotheses(torch.cat([hypotheses.poses, poses]), features=hypotheses.features)
        return self._tell("join", joined, origins)

    def propose_rotations(
        self, hypotheses: Hypotheses, rotations: AxisRotations, last: RotationStage, ball: BallColors | None = None
    ) -> Hypotheses:
        """The hypotheses, then rotations of the first few that texture favours, and quarter turns of the first.

        Of a ball, all rotations are tried in place of those about its axes.
        """
        poses = hypotheses.poses
        with self._stage("rotate"):
            if ball is not None:
                more = ball.propose(poses[0], self._object, self._observation, self._mask, last.rotations)
                origins = torch.zeros(len(more), dtype=torch.long, device=poses.device)
            elif last.proposals:
                likeliest, count = poses[: last.rotated], (last.proposals, last.quarter_turns)
                more, origins = propose_rotations(likeliest, rotations, self._object, self._observation, *count)
            else:
                more = rotations.quarter_turns(poses[0])[: last.quarter_turns]
                origins = torch.zeros(len(more), dtype=torch.long, device=poses.device)
        origins = torch.cat([torch.arange(len(poses), device=poses.device), origins])
        proposed = Hypotheses(torch.cat([poses, more]), features=hypotheses.features)
        return self._tell("rotate", proposed, origins)

    def refine_rotations(self, hypotheses: Hypotheses, rotations: AxisRotations) -> Hypotheses:
        """Rotated by the few degrees that make their texture agree best."""
        with self._stage("rotate"):
            poses = refine_rotations(hypotheses.poses, rotations, self._object, self._observation)
        return self._tell("rotate", Hypotheses(poses))

    def align(self, hypotheses: Hypotheses, last: int | None = None) -> Hypotheses:
        """Laid onto texture and depth; those from `last` on stay as they are."""
        with self._stage("align"):
            poses = align_poses(hypotheses.poses[:last], self._object, self._observation)
            if last is not None:
                poses = torch.cat([poses, hypotheses.poses[last:]])
        return self._tell("align", replace(hypotheses, poses=poses, features=None))

    def choose(
        self,
        hypotheses: Hypotheses,
        weights: ChoiceWeights,
        *,
        textured: bool,
        round_body: bool,
        symmetries: Tensor | None,
    ) -> tuple[Hypotheses, Tensor, Tensor]:
        """Scored, and weighed against each other by all there is to go by, likeliest first.

        Args:
            weights: of the scorer.
            textured: whether its colours count.
            round_body, symmetries: see `look_alike`.

        Returns:
            The hypotheses, their probabilities (N,), and (N, N) bool which of them count as one.
        """
        poses = hypotheses.poses
        parts = (self._object, self._observation)

        def alike() -> Tensor:
            with self._stage("compare"):
                return look_alike(poses, self._object, round_body, symmetries)

        def compare() -> PairEvidence:
            with self._stage("compare"):
                return compare_poses(poses, *parts, self._mask)

        def judge() -> Tensor:
            with self._stage("score"):
                judged = self._scorer.judge(hypotheses, *parts).confidence
            assert judged is not None, "a scorer with choice weights has a confidence"
            if self._long is not None:
                with self._stage("explain"):
                    share = explained_share(poses, self._object, self._observation, self._mask, most=_MOST_OF_MASK)
                judged = judged * torch.sigmoid((share - _LEAST_EXPLAINED) / _SPREAD)
            return judged

        scored, judged, evidence, one, texture = side_by_side(
            lambda: self.score(hypotheses),
            judge,
            compare,
            alike,
            lambda: self._agreement(hypotheses) if textured else torch.zeros_like(poses[:, 0, 0]),
        )
        with self._stage("compare"):
            if not textured:
                evidence = evidence._replace(color=torch.zeros_like(evidence.color))
            utility, probability = weigh(scored, judged, texture, evidence, weights)
            order = torch.argsort(utility, descending=True, stable=True)
            best = self._take("sort", replace(scored, ranking=utility, confidence=judged), order)
            return best, probability[order], one[order][:, order]

    def _agreement(self, hypotheses: Hypotheses) -> Tensor:
        with self._stage("texture"):
            return texture_correlation(hypotheses.poses, self._object, self._observation)

    def _take(self, step: str, hypotheses: Hypotheses, rows: Tensor) -> Hypotheses:
        return self._tell(step, hypotheses.take(rows), rows)

    def _tell(self, step: str, hypotheses: Hypotheses, parents: Tensor | None = None) -> Hypotheses:
        if self._watch is not None:
            same = torch.arange(len(hypotheses), device=hypotheses.poses.device)
            self._watch(step, hypotheses.poses, same if parents is None else parents)
        return hypotheses
