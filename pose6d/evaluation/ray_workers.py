"""Spreading scenes over processes and machines with Ray; the results come back to one process, which writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pose6d.errors import MissingDependencyError, Pose6DError

if TYPE_CHECKING:
    from pose6d.evaluation.datasets import ImageTargets
    from pose6d.evaluation.results_file import PoseEstimate


ImageResult = TypeVar("ImageResult", covariant=True)


class SceneJob(Protocol[ImageResult]):
    """What each worker makes once."""

    def predict_scene(
        self, images: list[ImageTargets], done: dict[tuple[int, int], list[PoseEstimate]]
    ) -> Iterator[ImageResult]:
        """Results of the images of one scene that are not done, in order."""
        ...


def predict_with_ray(
    make_job: Callable[[], SceneJob[ImageResult]],
    scenes: list[list[ImageTargets]],
    done: dict[tuple[int, int], list[PoseEstimate]],
    workers: int,
    gpus_per_worker: float,
) -> Iterator[ImageResult]:
    """Results of all scenes, image by image, as they come.

    Uses the cluster that RAY_ADDRESS names, else this machine. Each worker makes its job once and takes one scene after
    another; the data set and the program must be at the same place on every machine.

    Raises:
        MissingDependencyError: Ray is not installed.
        Pose6DError: a worker died.
    """
    ray = _import_ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=True, include_dashboard=False)
    pool = [ray.remote(num_gpus=gpus_per_worker)(_Worker).remote(make_job) for _ in range(workers)]
    waiting = list(scenes)
    running: dict[Any, Any] = {}
    try:
        for worker in pool:
            running[_start(worker, waiting, done)] = worker
        while running:
            stream = ray.wait(list(running), num_returns=1)[0][0]
            try:
                yield ray.get(next(stream))
            except StopIteration:
                worker = running.pop(stream)
                if waiting:
                    running[_start(worker, waiting, done)] = worker
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Pose6DError):
            raise error.cause from error
        raise
    except ray.exceptions.RayActorError as error:
        why = str(error).strip().splitlines()[0]
        raise Pose6DError(f"a worker died: {why} What is done is kept, the same command continues") from error
    finally:
        for worker in pool:
            ray.kill(worker)


class _Worker(Generic[ImageResult]):
    """Runs in a process of Ray."""

    def __init__(self, make_job: Callable[[], SceneJob[ImageResult]]) -> None:
        self._make_job = make_job
        self._job: SceneJob[ImageResult] | None = None

    def predict_scene(self, images: Any, done: Any) -> Iterator[ImageResult]:
        # Made here and not on construction, where Ray would report bad input as the death of a worker.
        self._job = self._job or self._make_job()
        yield from self._job.predict_scene(images, done)


def _start(worker: Any, waiting: list[list[ImageTargets]], done: dict[tuple[int, int], list[PoseEstimate]]) -> Any:
    """Give the next scene to a worker, with what is done of it; the stream of its results."""
    images = waiting.pop(0)
    known = {image[:2]: done[image[:2]] for image in images if image[:2] in done}
    return worker.predict_scene.options(num_returns="streaming").remote(images, known)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "several workers need the package ray, which is not installed: pip install 'pose6d[ray]', or --workers 1"
        ) from error
    return ray
