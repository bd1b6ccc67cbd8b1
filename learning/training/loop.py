"""What both trainers share: the step loop with schedule, averaging, guards, checkpoints and progress.

One process drives one device. Started by torchrun, the processes share gradients; only the first writes files.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from pose6d.device import resolve_device
from pose6d.errors import TrainingError
from pose6d.json_file import write_json
from pose6d.whole_file import whole_file

_LONGEST_STREAK = 50  # skipped steps in a row; a diverged network never recovers, and the hours would be lost
_REFRESH = 20  # steps between looks at the clock and the losses; each look waits for the device


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train."""

    steps: int = 10_000
    """of training, if no minutes are given"""
    minutes: float | None = None
    """end after this time instead; the learning rate's schedule follows the clock"""
    learning_rate: float = 5e-4
    """the highest, reached after the warm-up; it falls as a cosine"""
    weight_decay: float = 0.01
    warmup_steps: int = 200
    """in which the learning rate rises"""
    final_rate: float = 0.01
    """learning rate at the end, relative to the start"""
    ema: float = 0.998
    """decay of the averaged weights, which are the ones that are saved"""
    clip: float = 2.0
    """largest norm of the gradient"""
    save_every_minutes: float = 2.0
    """weights and checkpoint"""
    seed: int = 0
    """of the initial weights and of all scenes; that of the objects is --pool.seed"""
    compile: bool = True
    """torch.compile on CUDA"""


class Workers:
    """The processes of one training run: alone, or the group that torchrun started."""

    def __init__(self, device: str = "auto"):
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        if self.size > 1:
            local = int(os.environ.get("LOCAL_RANK", 0))
            self.device = resolve_device(f"cuda:{local}" if torch.cuda.is_available() else "cpu")
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        else:
            self.device = resolve_device(device)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The first process's value, on all."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def close(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


class RunConfig(Protocol):
    """What the configurations of both trainers, which are dataclasses, have in common."""

    @property
    def run_folder(self) -> Path: ...
    @property
    def device(self) -> str: ...
    @property
    def loop(self) -> LoopConfig: ...


def start_run(config: RunConfig) -> Workers:
    """Make the run folder, write config.json into it and seed the network's initial weights."""
    workers = Workers(config.device)
    torch.manual_seed(config.loop.seed)
    torch.backends.cudnn.benchmark = True
    config.run_folder.mkdir(parents=True, exist_ok=True)
    if workers.first:
        write_json(config.run_folder / "config.json", asdict(config))  # type: ignore[call-overload]
    return workers


class TrainingLoop:
    """Drives `step_fn` until the steps or the minutes are used up.

    Args:
        network: the network to train, on the workers' device.
        run_folder: receives checkpoint.pt, log.jsonl and whatever `save_fn` writes; an existing checkpoint is resumed.
        save_fn: called with the averaged state dict at every save, on the first process.
    """

    def __init__(
        self,
        network: nn.Module,
        config: LoopConfig,
        workers: Workers,
        run_folder: Path,
        save_fn: Callable[[dict[str, torch.Tensor]], None],
    ):
        self.network, self.config, self.workers = network, config, workers
        self.run_folder, self.save_fn = run_folder, save_fn
        self.step, self.elapsed, self.skipped, self._streak = 0, 0.0, 0, 0
        fused = workers.device.type == "cuda"
        decay = [p for p in network.parameters() if p.ndim > 1]
        no_decay = [p for p in network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": config.weight_decay}, {"params": no_decay, "weight_decay": 0.0}],
            lr=config.learning_rate,
            fused=fused,
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.generator = torch.Generator(device=workers.device)
        self._resume()
        self.generator.manual_seed(hash((config.seed, workers.rank, self.step)) % 2**63)
        self.model: Any = network
        if config.compile and workers.device.type == "cuda":
            self.model = torch.compile(network)
        if workers.size > 1:
            ids = [workers.device.index] if workers.device.type == "cuda" else None
            self.model = nn.parallel.DistributedDataParallel(self.model, device_ids=ids)

    @property
    def checkpoint_file(self) -> Path:
        return self.run_folder / "checkpoint.pt"

    def progress(self) -> float:
        """0 at the start, 1 at the end, the same on all processes."""
        by_steps = self.step / self.config.steps
        if self.config.minutes is None:
            return by_steps
        return self.workers.agree(self.elapsed / (60.0 * self.config.minutes))

    def run(self, step_fn: Callable[[Any, torch.Generator, float], dict[str, torch.Tensor]], pairs: int) -> None:
        """Train.

        Args:
            step_fn: (model, generator, progress) -> losses with the key `loss`, built on fresh data.
            pairs: image pairs that one step of one process uses, for the rate shown.
        """
        progress, last_save, since = self.progress(), self.elapsed, 0
        sums: dict[str, Any] = {}
        clock = time.perf_counter()
        bar = tqdm(total=100, unit="%", disable=not self.workers.first, bar_format="{l_bar}{bar}| {elapsed} {postfix}")
        self.network.train()
        while progress < 1.0:
            self._set_rate(progress)
            losses = step_fn(self.model, self.generator, progress)
            self._update(losses["loss"])
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value.detach().float()
            self.step, since = self.step + 1, since + 1
            if self.step % _REFRESH:
                continue
            numbers = {key: float(value) / since for key, value in sums.items()}
            now = time.perf_counter()
            rate = since * pairs * self.workers.size / (now - clock)
            self.elapsed, clock = self.elapsed + now - clock, now
            progress = self.progress()
            sums, since = {}, 0
            self._report(bar, numbers, rate, progress)
            if self.elapsed - last_save > 60.0 * self.config.save_every_minutes:
                self.save()
                last_save = self.elapsed
                clock = time.perf_counter()
        bar.close()
        self.save()

    def _set_rate(self, progress: float) -> None:
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        rate = self.config.learning_rate * warm * (self.config.final_rate + (1 - self.config.final_rate) * cosine)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _update(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        if not bool(torch.isfinite(norm)):
            # The forward pass has already touched the batch-norm statistics: take the averaged ones back.
            self.skipped, self._streak = self.skipped + 1, self._streak + 1
            if self._streak >= _LONGEST_STREAK:
                raise TrainingError(
                    f"the last {self._streak} steps had no finite gradient: the training has diverged at step "
                    f"{self.step}. Lower --loop.learning_rate (now {self.config.learning_rate}) or --loop.clip; "
                    f"{self.checkpoint_file} is from before, if it was saved early enough"
                )
            buffers = dict(self.network.named_buffers())
            for name, buffer in buffers.items():
                if name in self.average:
                    buffer.copy_(self.average[name])
            return
        self._streak = 0
        self.optimizer.step()
        self._update_average()

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first, or the average would hold on to the random start.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        state = self.network.state_dict()
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in floats], [state[k] for k in floats], 1.0 - decay)
        for key, value in state.items():
            if not value.is_floating_point():
                self.average[key].copy_(value)

    def _report(self, bar: tqdm, numbers: dict[str, float], rate: float, progress: float) -> None:
        if not self.workers.first:
            return
        shown = " ".join(f"{key} {value:.4f}" for key, value in numbers.items())
        bar.n = min(100, round(100 * progress))
        bar.set_postfix_str(f"step {self.step} {rate:.0f} pairs/s {shown} skipped {self.skipped}")
        record = {"step": self.step, "seconds": round(self.elapsed, 1), "pairs_per_second": round(rate), **numbers}
        record["skipped"] = self.skipped
        with (self.run_folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def save(self) -> None:
        """Write the averaged weights and everything a later run needs to go on."""
        if not self.workers.first:
            return
        self.save_fn(self.average)
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped": self.skipped,
            "config": asdict(self.config),
        }
        with whole_file(self.checkpoint_file) as partial:
            torch.save(state, partial)

    def _resume(self) -> None:
        if not self.checkpoint_file.exists():
            return
        state = torch.load(self.checkpoint_file, map_location=self.workers.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step, self.elapsed, self.skipped = state["step"], state["elapsed"], state["skipped"]
        if self.workers.first:
            print(f"resuming {self.checkpoint_file} at step {self.step}")


def read_log(run_folder: Path) -> Iterator[dict[str, float]]:
    """The records of a run's log.jsonl, oldest first."""
    with (run_folder / "log.jsonl").open() as log:
        for line in log:
            yield json.loads(line)
