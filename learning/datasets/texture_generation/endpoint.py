"""A server of models that speaks OpenAI's protocol: requests with a time limit, sent again where that helps."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from pose6d.errors import OptionError, TextureError

KEY_VARIABLE = "POSE6D_API_KEY"
LONGEST_ANSWER = 64 << 20
"""bytes"""
_LONGEST_PAUSE = 60.0  # seconds that we choose
_LONGEST_RETRY_AFTER = 300.0  # seconds that the server may ask for
_PASSING = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses that may be gone a little later
_REFUSED = (400, 413, 422, 451)  # statuses about this one request
_BASE_ADDRESS = "--endpoint is the base address, which usually ends in /v1"


class RefusedError(TextureError):
    """The endpoint works, but does not answer this one request, for example because of its words."""


class _PassingError(Exception):
    """A request that may be answered if it is sent again, after `pause` seconds if the server says so."""

    def __init__(self, cause: str, pause: float | None = None) -> None:
        super().__init__(cause)
        self.pause = pause


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects as errors: urllib would take the key along to wherever they lead."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. Nothing is sent before `post` or `fetch`.

    Raises:
        OptionError: the address is none, or holds a password; the key cannot be sent.
    """

    url: str
    """base address, to which chat/completions and images/generations are added"""
    key: str = field(default="", repr=False)
    """'' for a server without keys"""
    timeout: float = 120.0
    """seconds that one answer may take, from the request to its last byte"""
    retries: int = 5
    """how often a request is sent again after a failure that may pass"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.strip().rstrip("/"))
        found = f"--endpoint is {self.url!r}"
        if not _is_address(self.url):
            raise OptionError(f"{found}: wanted a base address such as http://localhost:8000/v1")
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            raise OptionError(f"--endpoint holds a name or password: keys are read from {KEY_VARIABLE} alone")
        if parts.query or parts.fragment:
            raise OptionError(f"{found}: wanted an address without ? and #")
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise OptionError(f"{KEY_VARIABLE} holds spaces or letters that no key has: copy the key again")

    def post(self, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a request.

        Args:
            path: of the service, such as chat/completions.
            fields: the request, as JSON values.

        Raises:
            RefusedError: this request is refused; another one may be answered.
            TextureError: the endpoint is down, slow, wants another key, or answers with something else than JSON.
        """
        # The same for all attempts, so that a server that knows this header bills them once.
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": uuid.uuid4().hex,
        }
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url}/{path}", json.dumps(dict(fields)).encode(), headers)
        body = self._send(request, urllib.request.build_opener(_NoRedirect))
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            said = self._quote(body) or "nothing"
            raise TextureError(f"{request.full_url} answers with text in place of JSON: {said}; {_BASE_ADDRESS}")
        if answer.get("error"):
            raise TextureError(f"{request.full_url} answers with an error: {self._quote(body)}")
        return answer

    def fetch(self, url: str) -> bytes:
        """What lies at an address that an answer names; the key is not sent there.

        Raises:
            TextureError: it is no http or https address, or does not answer.
        """
        if not _is_address(url):
            raise TextureError(f"{self.url} names {url[:80]!r} as the place of a picture: wanted an http address")
        return self._send(urllib.request.Request(url), urllib.request.build_opener())

    def _send(self, request: urllib.request.Request, opener: urllib.request.OpenerDirector) -> bytes:
        for attempt in range(self.retries + 1):
            try:
                return self._read(request, opener)
            except _PassingError as failure:
                last = failure
            if attempt == self.retries:
                break
            pause = min(2.0**attempt, _LONGEST_PAUSE) if last.pause is None else last.pause
            if pause > _LONGEST_RETRY_AFTER:
                raise TextureError(f"{request.full_url} {last} and wants {pause:.0f} s of rest: go on after that")
            tqdm.write(f"{request.full_url} {last}: sent again in {pause:.0f} s")
            time.sleep(pause)
        raise TextureError(
            f"{request.full_url} {last}, {self.retries + 1} time(s) in a row: check that the server is up, that its "
            f"address is right, and that --timeout ({self.timeout:g} s) is long enough for it"
        )

    def _read(self, request: urllib.request.Request, opener: urllib.request.OpenerDirector) -> bytes:
        """The answer of one attempt."""
        deadline = time.monotonic() + self.timeout
        try:
            with opener.open(request, timeout=self.timeout) as response:
                body = bytearray()
                while block := response.read1(1 << 16):
                    body += block
                    if time.monotonic() > deadline:  # the socket's own limit starts anew with every byte
                        raise TimeoutError
                    if len(body) > LONGEST_ANSWER:
                        raise TextureError(f"{request.full_url} answers with more than {LONGEST_ANSWER >> 20} MB")
                expected = response.headers.get("Content-Length", "")
                if expected.isdigit() and len(body) < int(expected):
                    raise _PassingError(f"broke off after {len(body)} of {expected} bytes")
                return bytes(body)
        except urllib.error.HTTPError as error:
            with error:
                raise self._explain(request, error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error  # URLError wraps what happened
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TextureError(f"{request.full_url} has a certificate that is not trusted: {reason}") from error
            if isinstance(reason, TimeoutError):
                raise _PassingError(f"did not answer within {self.timeout:g} s") from error
            raise _PassingError(f"cannot be reached ({reason})") from error

    def _explain(self, request: urllib.request.Request, error: urllib.error.HTTPError) -> Exception:
        """What to raise for a status that is no success."""
        try:
            said = self._quote(error.read1(1 << 16))
        except (OSError, http.client.HTTPException):
            said = ""
        found = f"answers {error.code} {error.reason}{': ' if said else ''}{said}"
        if error.code in _PASSING:
            return _PassingError(found, _seconds(error.headers.get("Retry-After", "")))
        found = f"{request.full_url} {found}"
        if error.code in _REFUSED:
            return RefusedError(found)
        if error.code in (401, 403) and not self.key:
            return TextureError(f"{found}: it wants a key, and {KEY_VARIABLE} is not set in the environment")
        if error.code in (401, 403):
            return TextureError(f"{found}: it does not take the key in {KEY_VARIABLE}")
        if 300 <= error.code < 400:
            return TextureError(f"{found}; it leads to {error.headers.get('Location')}: name that as --endpoint")
        if error.code in (404, 405):
            return TextureError(f"{found}: {_BASE_ADDRESS}; is the model's name right?")
        return TextureError(found)

    def _quote(self, body: bytes) -> str:
        """The beginning of what a server says in one line, without the key, which some repeat."""
        text = body[:4000].decode("utf-8", "replace")
        try:
            error = json.loads(body)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        text = text.replace(self.key, "...") if self.key else text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return repr(text[:300]) if text else ""


def key_from_environment() -> str:
    """The key in POSE6D_API_KEY, '' where it is not set: there is no other place for it."""
    return os.environ.get(KEY_VARIABLE, "").strip()


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return good and url.isascii() and url.isprintable() and " " not in url


def _seconds(retry_after: str) -> float | None:
    """What the header Retry-After asks for, a number of seconds or a date; None where it is neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
