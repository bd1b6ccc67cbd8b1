"""How objects may look, in words: a grammar that needs no language model, and the questions to one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from learning.datasets.texture_generation.endpoint import Endpoint
from pose6d.errors import TextureError

PER_CALL = 20
"""descriptions that one call asks for"""
UNUSABLE_IN_A_ROW = 3
"""after so many answers or pictures in a row that cannot be used, nothing more is asked"""
_SHORTEST, _LONGEST = 10, 400  # letters of a description

_Family = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # kinds, materials, wear beyond what all show


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


_FAMILIES: tuple[_Family, ...] = (
    (
        _words("hammer, screwdriver, power drill, clamp, spanner, pair of pliers, tape measure, hand saw, paint brush"),
        _words("forged steel, chromed steel, cast iron, ribbed rubber, hard plastic, ash wood, anodised aluminium"),
        _words("rusty at the joints, smeared with grease, splashed with paint, worn bare where hands hold it"),
    ),
    (
        _words("cereal box, shoe box, tea carton, medicine packet, paper bag, gift box, egg box, juice carton, book"),
        _words("coated cardboard, corrugated cardboard, kraft paper, glossy paper, waxed paper, linen cloth"),
        _words("creased at the corners, torn at one edge, closed with brown tape, wrinkled by damp"),
    ),
    (
        _words("food can, drink can, spray can, biscuit tin, thermos flask, oil canister, lunch box, toolbox"),
        _words("tinplate, brushed aluminium, lacquered steel, galvanised steel, stainless steel, powder-coated steel"),
        _words("dented on one side, rusty along the seam, with a label that peels off, scratched down to the metal"),
    ),
    (
        _words("mug, bowl, plate, vase, teapot, flower pot, jug, tile, soap dish, figurine"),
        _words("glazed stoneware, porcelain, raw terracotta, crackled glaze, speckled ceramic, enamelled steel"),
        _words("chipped at the rim, with fine cracks, stained by tea, with glaze that ran in drops"),
    ),
    (
        _words("shampoo bottle, detergent bottle, bucket, storage box, watering can, toy truck, remote control, mouse"),
        _words("matt plastic, glossy plastic, translucent plastic, soft rubber, recycled plastic full of specks"),
        _words("bleached by the sun, scuffed all over, yellowed with age, sticky with old glue"),
    ),
    (
        _words("toy block, chair leg, cutting board, jewel box, puzzle cube, spinning top, chess piece, rolling pin"),
        _words("beech, dark walnut, pine with knots, bamboo, plywood with its layers, lacquered wood, painted wood"),
        _words("with paint that flakes off, with ring stains, cracked along the grain, polished by use"),
    ),
    (
        _words("soft toy, sponge, cushion, shoe, backpack, glove, hat, ball, towel roll"),
        _words("woven cotton, felt, corduroy, knitted wool, suede, grained leather, nylon mesh, foam with open pores"),
        _words("frayed at the seams, patched, with loose threads, matted by many washes"),
    ),
    (
        _words("banana, apple, avocado, loaf of bread, pumpkin, orange, potato, cheese, mushroom, pinecone"),
        _words("ripe skin, unripe skin, dry crust, rough rind, freckled skin, waxy peel"),
        _words("with bruises, with a paper sticker, with a cut that has dried, dusted with soil"),
    ),
    (
        _words("circuit board, gear wheel, pipe joint, bracket, power supply, camera, motor housing, battery, plug"),
        _words("milled aluminium, die-cast zinc, sintered steel, brass, copper, glass fibre board, printed plastic"),
        _words("with tool marks, oily, tarnished, with heat colours, with screws of another colour"),
    ),
)
KINDS: tuple[str, ...] = tuple(kind for kinds, _, _ in _FAMILIES for kind in kinds)
_COLOURS = _words(
    "white, cream, light grey, dark grey, black, brick red, bright red, wine red, orange, ochre, lemon yellow, olive, "
    "grass green, dark green, mint, turquoise, sky blue, cobalt blue, navy, violet, lilac, pink, beige, brown, gold"
)
_TONES = _words("plain, pale, deep, faded, mottled, marbled, two-tone, metallic, milky, speckled")
_PRINTS = (
    "without any print",
    "with one {a} stripe around the middle",
    "with thin {a} and {b} stripes",
    "checked in {a} and {b}",
    "covered in small {a} dots",
    "with a large {a} number and lines of small letters",
    "with a {a} label full of fine print, a bar code and a picture of {motif}",
    "with a {a} label that covers half of it, lettered in {b}",
    "with a pattern of {motif} in {a} and {b}",
    "with one small picture of {motif} in {a}",
    "painted by hand with {motif}",
    "with {a} arrows and {b} warning signs",
    "with raised letters in its own colour",
    "with a {a} band at the bottom and a {b} one at the top",
    "with {a} leaves and {b} blossoms all over",
    "in blocks of {a} and {b}",
    "with {a} triangles and {b} circles of many sizes",
    "with a pattern of {a} tiles",
    "with a gradient to {a}",
    "with {a} stickers in odd places",
    "with a {a} seam and {b} screws",
    "with handwriting in {a}",
)
_MOTIFS = _words(
    "a lighthouse, lemons, a fox, mountains, sailing boats, ferns, stars, a bicycle, fish, a cactus, mushrooms, "
    "clouds, an owl, waves, a tomato, feathers, a rocket, gears, berries, a map, snowflakes, a cat, a coffee cup, keys"
)
_WEAR = _words("brand new, hardly used, dusty, with fingerprints, with a few scratches, with stains, worn at the edges")
_TASK = (
    "You describe how everyday objects may look; an image model then paints their surfaces. For each thing of the "
    "numbered list write one description of 15 to 40 words that names the thing, its materials, its colours, its print "
    "or pattern, and how new or worn it is. Be specific, and make no two alike: plain things occur as well as printed "
    "ones. No brands, no people, no surroundings, no light. Answer with nothing but a JSON list of {count} strings, in "
    "the order of the list."
)


def offline_description(seed: int, index: int, kinds: Sequence[str] = KINDS) -> str:
    """A description from a grammar: kind, colour, material, print and wear. Seed and index alone decide it."""
    rng = np.random.default_rng([seed, index])
    kind = str(rng.choice(list(kinds)))
    families = [family for family in _FAMILIES if kind in family[0]] or list(_FAMILIES)
    _, materials, wear = families[rng.integers(len(families))]
    ground, a, b = rng.choice(_COLOURS, 3, replace=False)
    printed = str(rng.choice(_PRINTS)).format(a=a, b=b, motif=rng.choice(_MOTIFS))
    text = f"{kind} of {rng.choice(_TONES)} {ground} {rng.choice(materials)}, {printed}, {rng.choice([*_WEAR, *wear])}"
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def ask_descriptions(endpoint: Endpoint, model: str | None, kinds: Sequence[str]) -> list[str]:
    """Ask a language model for one description of each of some kinds of objects, in one call.

    Returns:
        The descriptions that can be used, in one line each; [] where the answer is no list of them.

    Raises:
        TextureError: the endpoint does not answer, see `Endpoint.post`, or with something that is no chat.
    """
    listed = "\n".join(f"{number}. {kind}" for number, kind in enumerate(kinds, 1))
    messages = [
        {"role": "system", "content": _TASK.format(count=len(kinds))},
        {"role": "user", "content": listed},
    ]
    answer = endpoint.post("chat/completions", {**({"model": model} if model else {}), "messages": messages})
    try:
        content = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError) as error:
        found = ", ".join(map(str, answer)) or "nothing"
        raise TextureError(
            f"{endpoint.url}/chat/completions answers without a message (it has: {found}): is --chat_model a language "
            "model that chats?"
        ) from error
    texts = read_descriptions(content) if isinstance(content, str) else []
    if not texts:
        tqdm.write(f"{endpoint.url} does not answer with a JSON list of descriptions, but with {str(content)[:200]!r}")
    return texts


def read_descriptions(content: str) -> list[str]:
    """The strings of the JSON list in what a language model says, which may talk and think around it."""
    content = content.rpartition("</think>")[2]
    values: Any = None
    for start, end in (("[", "]"), ("{", "}")):
        try:
            values = json.loads(content[content.index(start) : content.rindex(end) + 1])
            break
        except (ValueError, RecursionError):
            continue
    if isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, list):
        return []
    values = [value.get("description") if isinstance(value, dict) else value for value in values]
    lines = [" ".join(value.split()) for value in values if isinstance(value, str)]
    return [line for line in lines if _SHORTEST <= len(line) <= _LONGEST and line.isprintable()]


def choose_kinds(kinds: Sequence[str], count: int, seed: int, start: int) -> list[str]:
    """The kinds of the descriptions from number `start` on: all kinds in random order before one comes again."""
    rounds = range(start // len(kinds), (start + count) // len(kinds) + 1)
    order = [kinds[i] for number in rounds for i in np.random.default_rng([seed, number]).permutation(len(kinds))]
    skipped = start - rounds.start * len(kinds)
    return order[skipped : skipped + count]
