"""The frame of every command: its options, its exit codes, and signals that ask it to end, raised as Ctrl-C is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TextIO, get_args, get_type_hints

from pose6d.errors import Pose6DError, with_cure

BAD_INPUT = 2
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows lacks one


class Stopped(KeyboardInterrupt):
    """A signal has asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def stopping_by_signals() -> Iterator[None]:
    """Raise `Stopped` inside at the first SIGTERM (`docker stop`, a scheduler) or SIGHUP (a lost terminal).

    Later ones are ignored, so that what the first one has begun to save is saved; printing to a terminal that is gone
    is no error. Signals that somebody handles or ignores already (`nohup`) stay as they are. Without a handler, the
    first process of a container gets no SIGTERM.
    """
    ours = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # only there Python lets one handle signals
        ours = []
    for number in ours:
        signal.signal(number, _stop)
    try:
        with redirect_stdout(_lasting(sys.stdout)), redirect_stderr(_lasting(sys.stderr)):
            yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def run_command(run: Callable[[], object], interrupted: str = "interrupted") -> int:
    """Run a command; bad input, stops and what it warns users of are said in one line each on stderr.

    Args:
        run: reads the command line and does what it asks for; an int that it returns is the exit code.
        interrupted: what to say after Ctrl-C, SIGTERM or SIGHUP.

    Returns:
        The exit code: 0 or what `run` returns, 2 after bad input, 130, 143 or 129 after a stop.
    """
    with stopping_by_signals(), _plain_warnings():
        try:
            result = run()
            return result if isinstance(result, int) else 0
        except Pose6DError as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_INPUT
        except OSError as error:  # a path that the system does not take, wherever it is first touched
            print(f"error: {with_cure(error)}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt as stop:
            print(interrupted, file=sys.stderr)
            return exit_code(stop)


def run_command_line(
    run: Callable[[Any], object], options: type, *, interrupted: str = "interrupted", **settings: Any
) -> NoReturn:
    """End the program with `run_command` of a function of `options`, which tyro reads from the command line.

    Args:
        run: the function.
        options: dataclass of its argument.
        interrupted: see `run_command`.
        settings: of `tyro.cli`.
    """
    sys.exit(run_command(lambda: run(read_options(options, **settings)), interrupted))


def read_options(options: type, **settings: Any) -> Any:
    """What `tyro.cli` reads from the command line, with help texts that end a line only where it is full.

    Args:
        options: dataclass of what is wanted.
        settings: of `tyro.cli`.
    """
    import tyro

    _whole_sentences(options, set())
    return tyro.cli(options, **settings)


def read_subcommand(subcommands: Mapping[str, type], **settings: Any) -> Any:
    """The same of one of several dataclasses, by the name that the command line begins with."""
    import tyro

    for options in subcommands.values():
        _whole_sentences(options, set())
    return tyro.extras.subcommand_cli_from_dict(dict(subcommands), **settings)


def finish_what_is_begun() -> None:
    """Inside `stopping_by_signals`: from here on they are ignored, for what is left to do is short and must be done."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show UserWarnings, which are for users, as "warning: ...", without a place in the code."""
    form = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        return f"warning: {message}\n" if category is UserWarning else form(message, category, *place, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = form


def _whole_sentences(options: Any, known: set[Any]) -> None:
    """Hand tyro the docstrings of a dataclass's options, and of those in it, as whole sentences: in the "help" of a
    field's metadata, which it takes as it is, where at many lines of a docstring it would begin one of --help."""
    import docstring_parser

    known.add(options)
    for one in reversed(options.__mro__[:-1]):
        said = {option.arg_name: option.description for option in docstring_parser.parse_from_object(one).params}
        for option in fields(options):
            if text := said.get(option.name):
                option.metadata = MappingProxyType({**option.metadata, "help": " ".join(text.split())})
    waiting = [*get_type_hints(options).values()]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and is_dataclass(kind) and kind not in known:
            _whole_sentences(kind, known)


def _stop(number: int, _: FrameType | None) -> None:
    finish_what_is_begun()
    raise Stopped(number)


def _lasting(stream: TextIO | None) -> Any:
    if stream is None:  # closed by whoever started the program
        return open(os.devnull, "w", encoding="utf-8")
    return _Terminal(stream) if stream.isatty() else stream


class _Terminal:
    """A terminal to print to. Once it is gone, which often shows before the signal comes, print goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
