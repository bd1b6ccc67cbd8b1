"""From weights to a network."""

from __future__ import annotations

from pathlib import Path

from learning.models.config import Kind, NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import WeightsError
from pose6d.weights import check_state, load_weights


def build_network(config: NetworkConfig) -> RefineNet | ScoreNetMultiPair:
    """A freshly initialised network."""
    return RefineNet(config) if config.kind == "refiner" else ScoreNetMultiPair(config)


def load_network(weights: str | Path, kind: Kind, device_type: str = "cpu") -> RefineNet | ScoreNetMultiPair:
    """A network with its weights, float32 on the CPU, in eval mode.

    Args:
        weights: `auto`, the name of a released set, a folder or a file; see `pose6d.weights.find_weights`.
        kind: `refiner` or `scorer`.
        device_type: `cpu` or `cuda`, decides what `auto` means.

    Raises:
        WeightsError: missing, corrupt, or of another architecture.
    """
    loaded = load_weights(weights, kind, device_type)
    try:
        network = build_network(NetworkConfig.from_dict(loaded.config, kind))
    except WeightsError as error:
        raise WeightsError(f"weights {loaded.source}: {error}") from error
    check_state(loaded.state, network.state_dict(), loaded.source)
    network.load_state_dict(loaded.state, strict=False)  # checked above; only counters may be absent
    return network.eval()
