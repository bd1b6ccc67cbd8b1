"""From weights to a network."""

from __future__ import annotations

from pathlib import Path

import torch

from learning.models.config import Kind, NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import WeightsError
from pose6d.weights import check_state, load_weights


def build_network(config: NetworkConfig) -> RefineNet | ScoreNetMultiPair:
    """A freshly initialised network."""
    return RefineNet(config) if config.kind == "refiner" else ScoreNetMultiPair(config)


def start_from(network: RefineNet | ScoreNetMultiPair, path: Path) -> list[str]:
    """Fill a network with trained weights as far as they fit, to train on from there.

    A scorer may start from a refiner: the trunks are the same but for their names.

    Returns:
        The names of the parameters that stay as they are, because the file has none for them.

    Raises:
        WeightsError: a tensor is of another shape, or nothing fits.
    """
    state = load_weights(path, "scorer" if path.stem.startswith("scorer") else "refiner").state
    own = network.state_dict()
    if not any(name.startswith("encode") and name in own for name in state):
        state = {_translate_name(name, network): tensor for name, tensor in state.items()}
    fitting = {name: tensor for name, tensor in state.items() if name in own}
    reshaped = [name for name, tensor in fitting.items() if own[name].shape != tensor.shape]
    if reshaped or not fitting:
        found = f"{reshaped[0]} has another shape" if reshaped else "no tensor of that name"
        raise WeightsError(f"{path} cannot start a {network.config.kind} of width {network.config.width}: {found}")
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    return [name for name, _ in network.named_parameters() if name not in fitting]


def _translate_name(name: str, network: RefineNet | ScoreNetMultiPair) -> str:
    """The trunk's names in the other network."""
    trunk, _, rest = name.partition(".")
    other = {"encodeA": "encoderA", "encodeAB": "encoderAB"}
    if isinstance(network, RefineNet):
        other = {theirs: ours for ours, theirs in other.items()}
    return f"{other.get(trunk, 'another ' + trunk)}.{rest}"


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
        with torch.device("meta"):  # shapes without numbers: random ones would be drawn only to be replaced
            network = build_network(NetworkConfig.from_dict(loaded.config, kind))
    except WeightsError as error:
        raise WeightsError(f"weights {loaded.source}: {error}") from error
    wanted = network.state_dict()
    check_state(loaded.state, wanted, loaded.source)
    absent = wanted.keys() - loaded.state.keys()  # only counters, says the check
    counters = {name: torch.zeros_like(wanted[name], device="cpu") for name in absent}
    network.load_state_dict({**loaded.state, **counters}, assign=True)
    return network.eval()
