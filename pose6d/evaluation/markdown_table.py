"""Tables that read well in a terminal and are Markdown as well."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def markdown_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Lines of a table, and an empty one after it.

    Args:
        rows: cells, the titles first.
        left: the columns that are set to the left; the others are to the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        return f"| {' | '.join(cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(cells))} |"

    rule = "|".join("-" * (w + 1) + ("-" if i in left else ":") for i, w in enumerate(widths))
    return [line(rows[0]), f"|{rule}|", *(line(row) for row in rows[1:]), ""]
