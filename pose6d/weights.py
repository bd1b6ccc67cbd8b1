"""Finding, checking, reading and writing network weights.

A set of weights is a folder with `refiner.safetensors`, `scorer.safetensors` and a JSON config beside each. The
released sets live in `weights/<name>/`, and `weights/manifest.json` holds the SHA-256 of each file; a file that is
written here carries a checksum inside as well, wherever it is moved. The published checkpoints of FoundationPose
(`config.yml` + `model_best.pth`) are understood too; they carry one for each tensor.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml

from pose6d.errors import WeightsError, as_path
from pose6d.json_file import read_json, write_json
from pose6d.whole_file import write_whole

# Folder names of the two published runs, as people unpack them.
PUBLISHED_RUNS = {"refiner": "2023-10-28-18-33-37", "scorer": "2024-01-11-20-02-45"}
MANIFEST = "manifest.json"
_CHECKSUM = "sha256"  # fact in a safetensors file: of the file, with zeros in its place
_NOT_YET = "0" * 64
_PREFERRED = {"cuda": ("base", "lite"), "cpu": ("lite", "base")}
_SCOUTS = {"base": "lite", "lite": "mini"}
_WHERE_BASE_IS = (
    "an installed package holds lite and mini alone; base lies in weights/ of a checkout: run there, or name that "
    "folder in the variable POSE6D_WEIGHTS"
)


@dataclass(frozen=True)
class LoadedWeights:
    """One network's numbers and what its config file says.

    Attributes:
        source: the file they came from.
        state: tensors by name, on the CPU, floating point ones as float32.
        config: the content of the config file, ours or a published `config.yml`.
    """

    source: Path
    state: dict[str, torch.Tensor]
    config: dict[str, Any]


def weights_folder() -> Path:
    """Where the named sets live: `weights/` of the checkout or of the installation, or the folder in POSE6D_WEIGHTS."""
    override = os.environ.get("POSE6D_WEIGHTS")
    return Path(override) if override else Path(__file__).resolve().parents[1] / "weights"


def available_weights(kind: str) -> list[str]:
    """Names of the sets in `weights_folder()` that hold this kind of network, sorted."""
    folder = weights_folder()
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _file_in(entry, kind) is not None)


def find_scouts(weights: str | Path, device_type: str = "cpu") -> str | None:
    """The released set of smaller networks that may look at the many starts of a search for a larger set.

    Args:
        weights, device_type: of the larger set, as of `find_weights`.

    Returns:
        Its name; None where there is none, as for weights that are not released ones.

    Raises:
        WeightsError: there is no such larger set.
    """
    folder = find_weights(weights, "refiner", device_type).resolve().parent
    scouts = _SCOUTS.get(folder.name)
    released = folder.parent == weights_folder().resolve()
    there = all(scouts in available_weights(kind) for kind in PUBLISHED_RUNS)
    return scouts if released and there else None


def find_weights(weights: str | Path, kind: str, device_type: str = "cpu") -> Path:
    """The weights file that a name or a path stands for.

    Args:
        weights: `auto` (base on CUDA and lite on the CPU where both exist, else the one that does), the name of a set
            in `weights_folder()`, a folder, or a .safetensors or .pth file.
        kind: `refiner` or `scorer`.
        device_type: `cpu` or `cuda`, for `auto`.

    Raises:
        WeightsError: nothing is there.
    """
    names = available_weights(kind)
    if str(weights) == "auto":
        choices = [name for name in _PREFERRED.get(device_type, ()) if name in names] or names
        if not choices:
            raise WeightsError(
                f"no {kind} weights in {weights_folder()}: expected {kind}.safetensors in base/ or lite/; is the "
                "checkout complete? Pass a folder with --weights to use others"
            )
        weights = choices[0]
        if weights == "lite" and device_type == "cuda":
            text = f"no base weights in {weights_folder()}, using the smaller lite: {_WHERE_BASE_IS}"
            warnings.warn(text, stacklevel=1)  # at this line, so that it is shown once for both networks
    if str(weights) in names:
        found = _file_in(weights_folder() / weights, kind)
        assert found is not None
        return found
    path = as_path(weights, "weights", WeightsError)
    if path.is_file():
        return path
    if path.is_dir():
        found = _file_in(path, kind)
        if found is not None:
            return found
        raise WeightsError(
            f"weights folder {path} holds no {kind}: expected {kind}.safetensors with {kind}.json, or the published "
            f"config.yml with model_best.pth (directly, in {kind}/ or in {PUBLISHED_RUNS[kind]}/)"
        )
    cure = f"; {_WHERE_BASE_IS}" if str(weights) == "base" else ""
    known = ", ".join(names) or "none here"
    raise WeightsError(f"weights {str(weights)!r} are neither a set ({known}) nor a path{cure}")


def load_weights(weights: str | Path, kind: str, device_type: str = "cpu") -> LoadedWeights:
    """Read one network's weights and config; arguments as in `find_weights`.

    Nothing in a file is executed: safetensors hold numbers only, and .pth files are read with `weights_only=True`.

    Raises:
        WeightsError: missing, not as its checksum or the manifest's says, unreadable, or holding values that are not
            finite.
    """
    source = find_weights(weights, kind, device_type)
    _verify_manifest(source)
    if source.suffix == ".safetensors":
        state, _ = read_tensors(source)
        config = _read_config(source.with_suffix(".json"))
    else:
        state = _read_checkpoint(source)
        config = _read_config(source.with_name("config.yml"))
    # Copied, for a safetensors file is only mapped into memory and may be written over while a network lives.
    state = {name: t.to(torch.float32 if t.is_floating_point() else t.dtype, copy=True) for name, t in state.items()}
    for name, tensor in state.items():
        # A sum is finite only if all its terms are, and takes a fifth of the time of looking at each.
        if not (tensor.sum().isfinite() or tensor.isfinite().all()):
            raise WeightsError(f"weights {source}: {name} holds values that are not finite; did the training diverge?")
    return LoadedWeights(source, state, config)


def save_weights(
    folder: str | Path, kind: str, state: Mapping[str, torch.Tensor], config: Mapping[str, Any], half: bool = True
) -> Path:
    """Write `<kind>.safetensors` and `<kind>.json` into a folder, which is made if needed.

    Args:
        folder: e.g. `weights/base`.
        kind: `refiner` or `scorer`.
        state: the network's state dict.
        config: plain values for the JSON file.
        half: store matrices and kernels as float16. Vectors (biases, normalisation statistics) stay float32: they are
            small, and variances may leave float16's range.

    Returns:
        The weights file.
    """
    tensors = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        shrink = half and tensor.is_floating_point() and tensor.ndim >= 2 and name != "pos_embed.pe"
        tensors[name] = tensor.half() if shrink else tensor.clone()
    file = Path(folder) / f"{kind}.safetensors"
    write_tensors(file, tensors)
    write_json(file.with_suffix(".json"), config)
    return file


def write_tensors(file: Path, tensors: dict[str, torch.Tensor], facts: dict[str, str] | None = None) -> None:
    """Write a safetensors file with a checksum inside, which others may read as far as the umask allows.

    `safetensors.torch.save_file` makes them for their owner alone, who in a container is often root.
    """
    data = safetensors.torch.save(tensors, {**(facts or {}), _CHECKSUM: _NOT_YET})
    # Inside, and not in a second file: the two could come apart, and a run may be stopped between them.
    data = data.replace(_NOT_YET.encode(), hashlib.sha256(data).hexdigest().encode(), 1)
    write_whole(file, data)


def read_tensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file, mapped into memory, and the facts that were written with them.

    Raises:
        WeightsError: it cannot be read, or its checksum, if it has one, is of another content.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            facts = opened.metadata() or {}
        wanted = facts.get(_CHECKSUM)
        if wanted is not None:
            data = file.read_bytes().replace(wanted.encode(), _NOT_YET.encode(), 1)
            found = hashlib.sha256(data).hexdigest()
            if found != wanted:
                raise WeightsError(
                    f"weights {file} are corrupt: SHA-256 {found[:12]}..., but when they were written it was "
                    f"{wanted[:12]}...; copy the file again, or train again from the run's checkpoint"
                )
        return safetensors.torch.load_file(file), facts
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"weights {file} cannot be read ({error}): is the download complete?") from error


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_state(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], source: str | Path) -> None:
    """Refuse weights of another architecture.

    Args:
        state: what was read.
        wanted: the state dict of the network that it is to fill. Counters of batch normalisation may be absent.
        source: the file to name.

    Raises:
        WeightsError: naming the first tensors that are missing, unexpected or of another shape.
    """
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted]
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if faults:
        raise WeightsError(
            f"weights {source} are of another architecture than their config: tensors {'; '.join(faults)}"
        )


def _file_in(folder: Path, kind: str) -> Path | None:
    candidates = (
        folder / f"{kind}.safetensors",
        folder / "model_best.pth",
        folder / kind / "model_best.pth",
        folder / PUBLISHED_RUNS[kind] / "model_best.pth",
    )
    return next((file for file in candidates if file.is_file()), None)


def _verify_manifest(file: Path) -> None:
    manifest = file.parent.parent / MANIFEST
    if not manifest.is_file():
        return
    try:
        entry = read_json(manifest, WeightsError).get("files", {}).get(f"{file.parent.name}/{file.name}")
        wanted = None if entry is None else str(entry["sha256"])
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(f"manifest {manifest} is not of the form of a manifest of weights: {error!r}") from error
    found = None if wanted is None else sha256(file)
    if found is not None and wanted is not None and found != wanted:
        raise WeightsError(
            f"weights {file} are corrupt: SHA-256 {found[:12]}..., but {manifest} says {wanted[:12]}...; "
            "fetch the file again (git checkout, or the download)"
        )


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise WeightsError(f"config {file} is missing: it must lie beside the weights and describes their architecture")
    if file.suffix == ".json":  # JSON is YAML, but only the JSON reader takes its numbers as they are
        content = read_json(file, WeightsError)
    else:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
            raise WeightsError(f"config {file} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"config {file} holds {type(content).__name__}, expected named values")
    return content


# The unpickler meets bytes that are no pickle with errors of many kinds; LookupError, for one, where it finds none.
_NO_PICKLE = RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile, LookupError, TypeError, AttributeError


def _read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    try:
        if zipfile.is_zipfile(file):  # as torch.save writes them; torch.load does not look at the checksums inside
            with zipfile.ZipFile(file) as parts:
                damaged = parts.testzip()
            if damaged is not None:
                raise WeightsError(f"checkpoint {file} is corrupt in its part {damaged}: copy or fetch it again")
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"checkpoint {file} is no checkpoint, or holds objects other than tensors, which are not executed. Where "
            "you trust it, load it in its own project and save the tensors alone: torch.save({'model': state}, path)"
        ) from error
    except _NO_PICKLE as error:
        raise WeightsError(f"checkpoint {file} cannot be read ({error}): is the download complete?") from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"checkpoint {file} holds no state dict, neither bare nor under 'model'")
    return state
