"""The command `python -m learning.datasets textures`: from kinds of objects to pictures for --pool.texture_dir."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from learning.datasets.texture_generation.descriptions import (
    KINDS,
    PER_CALL,
    UNUSABLE_IN_A_ROW,
    ask_descriptions,
    choose_kinds,
    offline_description,
)
from learning.datasets.texture_generation.endpoint import Endpoint, RefusedError, key_from_environment
from learning.datasets.texture_generation.pictures import (
    DiffusersPictures,
    EndpointPictures,
    NoPictureError,
    PictureError,
    PictureSource,
    check_picture,
    picture_checksum,
    texture_prompt,
)
from learning.datasets.texture_generation.texture_folder import TextureFolder
from pose6d.errors import OptionError, Pose6DError, TextureError

OFFLINE = "offline"
_MOST = 100_000


@dataclass(frozen=True)
class TextureOptions:
    """Make pictures of surfaces to train on: words of a language model (or of a grammar), painted by an image model.

    Nothing is sent without --endpoint and --yes. The endpoint's key, if it wants one, is read from the environment's
    POSE6D_API_KEY alone. What is there already is kept: the same command goes on, and a larger --count adds to it.
    """

    out: Path
    """folder to make; pass it to the trainers as --pool.texture_dir"""
    count: int = 100
    """pictures in all; each has a description of its own"""
    descriptions: Literal["endpoint", "offline"] = "endpoint"
    """where descriptions come from: a language model, or a grammar that needs none"""
    pictures: Literal["endpoint", "diffusers", "none"] = "endpoint"
    """where pictures come from: an image model, your own diffusers pipeline, or nowhere yet (to read descriptions.json
    first, or to change --endpoint between words and pictures)"""
    kinds: tuple[str, ...] = KINDS
    """kinds of objects to describe"""
    endpoint: str | None = None
    """base address of a server that speaks OpenAI's protocol, such as http://localhost:8000/v1"""
    chat_model: str | None = None
    """the server's name of the language model; its own choice where omitted"""
    picture_model: str | None = None
    """the server's name of the image model; its own choice where omitted"""
    picture_fields: str = "{}"
    """more fields of every request for a picture (or arguments of the pipeline's call) as JSON, such as '{"quality":
    "low"}'"""
    send_seed: bool = False
    """send a seed with every request for a picture; many servers at home know it, others refuse it"""
    pipeline: str | None = None
    """diffusers: folder of the pipeline, or its name in the cache; nothing is downloaded"""
    device: str = "auto"
    """diffusers: auto, cpu, cuda or cuda:N"""
    size: int = 1024
    """pixels of a side to ask for; training uses 256"""
    seed: int = 0
    price_per_call: float | None = None
    """of one call for 20 descriptions, for the estimate"""
    price_per_picture: float | None = None
    """for the estimate, in the same currency"""
    yes: bool = False
    """send the requests of the estimate; without it, the estimate is printed and nothing is sent"""
    timeout: float = 120.0
    """seconds that one answer may take"""
    retries: int = 5
    """how often a request is sent again if the endpoint is down, slow or busy"""


def generate_textures(options: TextureOptions) -> TextureFolder | None:
    """Make what is missing of the descriptions and pictures; None where only the estimate was printed.

    Raises:
        OptionError: options that cannot be used, or do not fit together.
        OutputError: the folder cannot be used.
        TextureError: the endpoint does not work, or gives what cannot be used. What was made before is kept.
    """
    fields = _check_options(options)
    folder = TextureFolder(options.out)
    endpoint = None
    if "endpoint" in (options.descriptions, options.pictures):
        if options.endpoint is None:
            raise OptionError(
                "--endpoint is missing, and there is no default: name the base address of your server, or use "
                "--descriptions offline with --pictures diffusers (or none)"
            )
        endpoint = Endpoint(options.endpoint, key_from_environment(), options.timeout, options.retries)
    calls = _print_estimate(options, folder)
    if calls and not options.yes:
        print("Nothing has been sent. The same command with --yes sends these requests.")
        return None
    with folder.lock():
        source = None
        if options.pictures != "none" and _missing_pictures(options, folder):
            source = _open_source(options, endpoint, fields)  # what is wrong with it shows before words are paid for
        try:
            _add_descriptions(options, folder, endpoint)
            if source is not None:
                _add_pictures(options, folder, source)
        except Pose6DError as error:
            kept = (
                f"{len(folder.descriptions)} descriptions and {len(folder.pictures)} pictures are kept in {folder.path}"
            )
            raise type(error)(f"{error}; {kept}, the same command goes on from there") from error
    _print_result(options, folder)
    return folder


def _check_options(options: TextureOptions) -> dict[str, Any]:
    """The further fields of a request for a picture."""
    wanted = {
        "count": (options.count, 1 <= options.count <= _MOST, f"1 to {_MOST:,}"),
        "size": (options.size, 128 <= options.size <= 4096, "128 to 4096 pixels"),
        "seed": (options.seed, options.seed >= 0, "0 or more"),
        "timeout": (options.timeout, 0 < options.timeout < math.inf, "seconds, more than 0"),
        "retries": (options.retries, 0 <= options.retries <= 100, "0 to 100"),
        "kinds": (options.kinds, bool(options.kinds) and all(map(str.strip, options.kinds)), "names of objects"),
        "pipeline": (options.pipeline, bool(options.pipeline) or options.pictures != "diffusers", "its folder or name"),
    }
    for name in ("price_per_call", "price_per_picture"):
        price = getattr(options, name)
        wanted[name] = (price, price is None or 0 <= price < math.inf, "0 or more")
    for name, (value, good, range_) in wanted.items():
        if not good:
            raise OptionError(f"--{name} is {value!r}: wanted {range_}")
    try:
        fields = json.loads(options.picture_fields)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise OptionError(f"--picture_fields is {options.picture_fields!r}: wanted a JSON object like '{{\"n\": 1}}'")
    return fields


def _missing_descriptions(options: TextureOptions, folder: TextureFolder) -> int:
    return max(0, options.count - len(folder.descriptions))


def _missing_pictures(options: TextureOptions, folder: TextureFolder) -> list[int]:
    return [index for index in range(options.count) if index not in folder.records]


def _print_estimate(options: TextureOptions, folder: TextureFolder) -> int:
    """Say what will be done and what it costs; returns the number of requests."""
    words = _missing_descriptions(options, folder)
    pictures = 0 if options.pictures == "none" else len(_missing_pictures(options, folder))
    calls = math.ceil(words / PER_CALL) if options.descriptions == "endpoint" else 0
    paid = pictures if options.pictures == "endpoint" else 0
    print(f"{folder.path}: {options.count} wanted, {len(folder.descriptions)} described, {len(folder.records)} painted")
    source = f"{calls} calls to {options.endpoint}, model {options.chat_model or 'of its choice'}"
    print(f"  descriptions to make: {words}" + (f" ({source if calls else 'offline'})" if words else ""))
    source = (
        f"{paid} calls to {options.endpoint}, model {options.picture_model or 'of its choice'}, size {options.size}"
    )
    print(f"  pictures to make: {pictures}" + (f" ({source if paid else options.pipeline})" if pictures else ""))
    if calls or paid:
        prices = [(calls, options.price_per_call, "call"), (paid, options.price_per_picture, "picture")]
        terms = [f"{n} x {'?' if price is None else f'{price:g}'} a {what}" for n, price, what in prices if n]
        total = sum(n * (price or 0) for n, price, _ in prices)
        known = all(price is not None for n, price, _ in prices if n)
        unknown = "unknown, see --price_per_call and --price_per_picture"
        print(f"  cost: {' + '.join(terms)} = {f'{total:.2f}' if known else unknown}")
        print(
            f"  more only for answers of no use (of calls for descriptions {UNUSABLE_IN_A_ROW} times as many at most)"
        )
        print(
            f"  and requests that get no answer: each is sent up to {options.retries + 1} times, some servers bill that"
        )
    return calls + paid


def _add_descriptions(options: TextureOptions, folder: TextureFolder, endpoint: Endpoint | None) -> None:
    known = {entry["description"].casefold() for entry in folder.descriptions}
    if options.descriptions == "offline":
        new: list[str] = []
        index = 0
        while len(new) < _missing_descriptions(options, folder):
            text = offline_description(options.seed, index, options.kinds)
            new += [] if text.casefold() in known else [text]
            known.add(text.casefold())
            index += 1
        if new:
            folder.add_descriptions(new, OFFLINE)
        return
    assert endpoint is not None
    wanted = _missing_descriptions(options, folder)
    most_calls = UNUSABLE_IN_A_ROW * math.ceil(wanted / PER_CALL)
    calls = unusable = 0
    with tqdm(total=wanted, desc="asking for descriptions", unit="", disable=not wanted) as bar:
        while missing := _missing_descriptions(options, folder):
            if unusable == UNUSABLE_IN_A_ROW or calls == most_calls:
                raise TextureError(
                    f"{endpoint.url} gave {wanted - missing} new descriptions in {calls} answers, wanted {wanted}, "
                    f"{PER_CALL} an answer as a JSON list: use a larger --chat_model, or --descriptions offline"
                )
            kinds = choose_kinds(options.kinds, min(PER_CALL, missing), options.seed, len(folder.descriptions))
            found = dict.fromkeys(ask_descriptions(endpoint, options.chat_model, kinds))
            new = [text for text in found if text.casefold() not in known][:missing]
            calls += 1
            unusable = 0 if new else unusable + 1
            if new:
                known.update(text.casefold() for text in new)
                folder.add_descriptions(new, options.chat_model)
                bar.update(len(new))


def _open_source(options: TextureOptions, endpoint: Endpoint | None, fields: dict[str, Any]) -> PictureSource:
    if options.pictures == "diffusers":
        assert options.pipeline is not None
        return DiffusersPictures(options.pipeline, options.size, options.device, fields)
    assert endpoint is not None
    return EndpointPictures(endpoint, options.picture_model, options.size, fields, options.send_seed)


def _add_pictures(options: TextureOptions, folder: TextureFolder, source: PictureSource) -> None:
    seen = {record["checksum"] for record in folder.records.values()}
    unusable = 0
    seeded = options.send_seed or options.pictures == "diffusers"
    for index in tqdm(_missing_pictures(options, folder), desc="painting", unit="picture"):
        description = folder.descriptions[index]["description"]
        prompt = texture_prompt(description)
        seed = int(np.random.default_rng([options.seed, index]).integers(2**31))
        record: dict[str, Any] = {
            "index": index,
            "file": None,
            "rejected": None,
            "description": description,
            "prompt": prompt,
            "model": source.name,
            "source": options.endpoint if options.pictures == "endpoint" else options.pictures,
            "seed": seed if seeded else None,
            "size": None,
            "checksum": None,
        }
        try:
            image = source.make(prompt, seed)
            record |= {"size": [image.height, image.width], "checksum": picture_checksum(image)}
            check_picture(image)
            if record["checksum"] in seen:
                raise PictureError("the same picture has come before")
        except (PictureError, NoPictureError, RefusedError) as error:
            unusable += 1
            tqdm.write(f"picture {index} is left out: {error}")
            if isinstance(error, PictureError):  # it came, and may be on the bill: it is not asked for again
                folder.add_record({**record, "rejected": str(error)})
            if unusable == UNUSABLE_IN_A_ROW:
                raise TextureError(f"{unusable} pictures in a row cannot be used; the last: {error}") from error
            continue
        unusable = 0
        seen.add(record["checksum"])
        folder.add_picture(image, record)


def _print_result(options: TextureOptions, folder: TextureFolder) -> None:
    print(f"{folder.path}: {len(folder.descriptions)} descriptions, {len(folder.pictures)} pictures")
    for reason, times in Counter(r["rejected"] for r in folder.records.values() if r["rejected"]).items():
        print(f"  {times} left out: {reason}")
    missing = 0 if options.pictures == "none" else len(_missing_pictures(options, folder))
    if missing:
        print(f"  {missing} did not come; the same command asks for them again")
    if folder.pictures:
        print(f"Train with --pool.texture_dir {folder.path}")
