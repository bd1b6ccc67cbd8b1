"""Requests to a server of models: what is sent, and every way in which an answer can fail to come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler

import pytest

from learning.datasets.texture_generation import endpoint as endpoint_module
from learning.datasets.texture_generation.endpoint import Endpoint, RefusedError, key_from_environment
from pose6d.errors import OptionError, TextureError
from tests.model_server import ModelServer, answer, model_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with model_server() as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(endpoint_module.time, "sleep", found.append)
    return found


def test_a_request_carries_the_key_and_the_fields(server: ModelServer) -> None:
    server.next = [answer({"fine": 1})]
    assert Endpoint(server.url + "/", key="secret").post("some/thing", {"a": 2}) == {"fine": 1}
    ((path, headers, fields),) = server.asked
    assert (path, fields, headers["Authorization"]) == ("/v1/some/thing", {"a": 2}, "Bearer secret")


def test_without_a_key_none_is_sent(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSE6D_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "of another service")
    server.next = [answer({})]
    Endpoint(server.url, key_from_environment()).post("thing", {})
    assert "Authorization" not in server.asked[0][1]


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("localhost:8000", "", "wanted a base address such as"),
        ("ftp://host/v1", "", "wanted a base address such as"),
        ("http://host:99999/v1", "", "wanted a base address such as"),
        ("http://ho st/v1\n", "", "wanted a base address such as"),
        ("", "", "wanted a base address such as"),
        ("http://me:secret@host/v1", "", "keys are read from POSE6D_API_KEY alone"),
        ("http://host/v1?key=secret", "", r"without \? and #"),
        ("http://host/v1", "two words", "POSE6D_API_KEY holds spaces"),
    ],
)
def test_what_is_no_address_or_key_is_refused_at_once(url: str, key: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as raised:
        Endpoint(url, key)
    assert "two words" not in str(raised.value) and "me:secret" not in str(raised.value)


def test_an_endpoint_that_is_busy_is_asked_again_after_growing_pauses(server: ModelServer, pauses: list[float]) -> None:
    busy = answer({"error": {"message": "overloaded"}}, 503)
    server.next = [busy, busy, busy, answer({"fine": 1})]
    assert Endpoint(server.url).post("thing", {}) == {"fine": 1}
    assert pauses == [1, 2, 4]
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.asked}) == 1


def test_retry_after_is_kept_to_as_seconds_and_as_a_date(server: ModelServer, pauses: list[float]) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    server.next = [answer("slow down", 429, Retry_After="7"), answer("wait", 503, Retry_After=date), answer({})]
    Endpoint(server.url).post("thing", {})
    assert pauses[0] == 7 and 25 < pauses[1] <= 30


def test_a_long_rest_ends_the_run_with_its_length(server: ModelServer, pauses: list[float]) -> None:
    server.next = [answer("quota", 429, Retry_After="3600")]
    with pytest.raises(TextureError, match=r"429 .*'quota' and wants 3600 s of rest"):
        Endpoint(server.url).post("thing", {})
    assert pauses == []


def test_an_endpoint_that_is_down_is_named(pauses: list[float]) -> None:
    with model_server() as server:
        url = server.url
    with pytest.raises(TextureError, match=rf"{url}/thing cannot be reached .*3 time\(s\) in a row: check that"):
        Endpoint(url, retries=2).post("thing", {})
    assert pauses == [1, 2]


def test_an_endpoint_that_is_slow_is_given_up(server: ModelServer) -> None:
    server.next = [lambda _: server.released.wait(20)]
    with pytest.raises(TextureError, match=r"did not answer within 0.2 s, .* --timeout \(0.2 s\) is long enough"):
        Endpoint(server.url, timeout=0.2, retries=0).post("thing", {})


def test_an_answer_that_comes_in_drops_is_given_up(server: ModelServer) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not server.released.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:  # given up
            pass

    server.next = [drip]
    with pytest.raises(TextureError, match=r"did not answer within 0\.3 s"):
        Endpoint(server.url, timeout=0.3, retries=0).post("thing", {})


def test_an_answer_that_breaks_off_is_asked_for_again(server: ModelServer, pauses: list[float]) -> None:
    server.next = [answer(b'{"a": 1}', Content_Length="80"), answer({"fine": 1})]
    assert Endpoint(server.url).post("thing", {}) == {"fine": 1}
    assert pauses == [1]


@pytest.mark.parametrize("body", ["<!doctype html>\n<p>Welcome</p>", "", "[1, 2]", "[" * 100_000, b"\xff\xfe\x00"])
def test_text_in_place_of_json_is_quoted(server: ModelServer, body: str | bytes) -> None:
    server.next = [answer(body)]
    with pytest.raises(TextureError, match=r"text in place of JSON: .*usually ends in /v1") as raised:
        Endpoint(server.url).post("thing", {})
    assert len(str(raised.value)) < 600
    assert "Welcome" in str(raised.value) or "Welcome" not in str(body)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "key", "said"),
    [
        (401, "", "it wants a key, and POSE6D_API_KEY is not set in the environment"),
        (403, "sk-12", "it does not take the key in POSE6D_API_KEY"),
        (404, "", "is the model's name right"),
        (402, "", "402"),
    ],
)
def test_a_refusal_says_its_cure_and_never_the_key(server: ModelServer, status: int, key: str, said: str) -> None:
    server.next = [answer({"error": {"message": f"bad key {key}\x1b[31m"}}, status)]
    with pytest.raises(TextureError, match=said) as raised:
        Endpoint(server.url, key).post("thing", {})
    assert "sk-12" not in str(raised.value) and "\x1b" not in str(raised.value)
    assert len(server.asked) == 1


def test_one_refused_request_is_told_from_an_endpoint_that_does_not_work(server: ModelServer) -> None:
    server.next = [answer({"error": {"message": "size must be 512x512"}}, 400), answer({"error": "no memory"})]
    with pytest.raises(RefusedError, match="size must be 512x512"):
        Endpoint(server.url).post("thing", {})
    with pytest.raises(TextureError, match="answers with an error: 'no memory'"):
        Endpoint(server.url).post("thing", {})


def test_the_key_does_not_follow_a_redirect(server: ModelServer) -> None:
    server.next = [answer("", 302, Location="http://elsewhere.invalid/v1/thing")]
    with pytest.raises(TextureError, match=r"leads to http://elsewhere.invalid/v1/thing: name that as --endpoint"):
        Endpoint(server.url, "secret").post("thing", {})


def test_an_endless_answer_is_refused(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "LONGEST_ANSWER", 1 << 20)
    server.next = [answer(b" " * (2 << 20))]
    with pytest.raises(TextureError, match="answers with more than 1 MB"):
        Endpoint(server.url).post("thing", {})
