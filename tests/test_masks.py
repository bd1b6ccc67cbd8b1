"""The box around a mask, and what two masks have in common."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pose6d.geometry.masks import mask_box, mask_iou, mask_window

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(masks)
def test_the_box_holds_all_true_pixels_and_touches_them_on_each_side(mask: np.ndarray) -> None:
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    x, y, width, height = box
    inside = mask[y : y + height, x : x + width]
    assert inside.shape == (height, width) and inside.sum() == mask.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


@given(masks.filter(np.any), st.integers(0, 12))
def test_the_window_is_the_box_and_a_margin_that_the_image_cuts(mask: np.ndarray, margin: int) -> None:
    x, y, width, height = mask_box(mask) or (0, 0, 0, 0)
    rows, columns = mask_window(mask, margin)
    assert rows == slice(max(y - margin, 0), min(y + height + margin, mask.shape[0]))
    assert columns == slice(max(x - margin, 0), min(x + width + margin, mask.shape[1]))


def test_what_two_masks_have_in_common() -> None:
    left, right = np.zeros((2, 4, 6), bool)
    left[:, :4] = right[:, 2:] = True
    assert mask_iou(left, right) == mask_iou(right, left) == 8 / 24
    assert mask_iou(left, left) == 1 and mask_iou(left, ~left) == 0 and mask_iou(left & ~left, left & ~left) == 0
