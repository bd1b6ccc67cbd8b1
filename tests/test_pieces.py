"""Pieces are shared among threads: results in order, errors told, PyTorch's threads as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from pose6d.pieces import even_slices, operations_only, pieces_only, run_pieces, threads


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    assert torch.get_num_threads() == 4, "as it was"
    torch.set_num_threads(before)


def test_results_are_in_order_and_from_several_threads() -> None:
    together = threading.Barrier(4, timeout=20)  # breaks unless four pieces are done at the same time

    def work(piece: int) -> tuple[int, int]:
        together.wait()
        return piece * piece, torch.get_num_threads()

    assert run_pieces(work, range(4)) == [(piece * piece, 1) for piece in range(4)]
    assert run_pieces(lambda piece: piece, range(50)) == list(range(50))
    assert run_pieces(lambda piece: piece, []) == []


def test_pieces_of_a_piece_have_the_threads_that_are_left() -> None:
    assert run_pieces(lambda _: (threads(), run_pieces(lambda _: threads(), range(2))), range(2)) == [(2, [1, 1])] * 2
    assert run_pieces(lambda _: threads(), range(1)) == [4]


def test_an_error_of_any_thread_is_raised() -> None:
    def work(piece: int) -> None:
        if piece == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        run_pieces(work, range(8))
    assert threads() == 4


def test_inference_mode_holds_in_all_threads() -> None:
    with torch.inference_mode():
        assert all(run_pieces(lambda _: torch.is_inference_mode_enabled(), range(8)))
    assert not any(run_pieces(lambda _: torch.is_inference_mode_enabled(), range(8)))


def test_either_pieces_or_operations_have_the_threads() -> None:
    with pieces_only():
        assert (threads(), torch.get_num_threads()) == (4, 1)
        with operations_only():
            assert (threads(), torch.get_num_threads()) == (1, 4)
        assert (threads(), torch.get_num_threads()) == (4, 1)
    assert (threads(), torch.get_num_threads()) == (4, 4)


@pytest.mark.parametrize(
    ("count", "largest", "lengths"), [(12, 8, [3] * 4), (40, 8, [5] * 8), (3, 8, [1] * 3), (0, 8, [])]
)
def test_slices_are_even_and_every_thread_gets_as_many(count: int, largest: int, lengths: list[int]) -> None:
    slices = even_slices(count, largest)
    assert [part.stop - part.start for part in slices] == lengths
    assert [row for part in slices for row in range(part.start, part.stop)] == list(range(count))
