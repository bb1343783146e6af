"""What commands print: tables and progress bars (with rich where it is installed), and JSON."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

NO_HEADER = ("", "")
WIDTH = 240  # of tables that go to a file or a pipe


def print_json(value: Any) -> None:
    """One JSON document on stdout: NumPy's numbers as numbers, NaN and infinities as null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout. A column whose name begins with ">" is aligned to the right.

    NO_HEADER as columns: names and values, without a header.
    """
    if find_spec("rich") is not None:
        _print_rich(columns, rows, title)
        return
    names = [column.lstrip(">") for column in columns]
    widths = [max(len(row[i]) for row in (names, *rows)) for i in range(len(names))]
    if title:
        print(title)
    header = [] if columns == NO_HEADER else [names, ["-" * width for width in widths]]
    for row in (*header, *rows):
        cells = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    headed = columns != NO_HEADER
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, show_header=headed)
    for column in columns:
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))  # as it stands: file names may look like markup
    console.print(table)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """What native libraries print to stdout in the block goes to stderr: stdout is for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr (where that is a terminal) while the block runs.

    Gives a function to call with each advance.
    """
    if not sys.stderr.isatty():
        print(f"{description} ...", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    if find_spec("rich") is None:
        with _plain_progress(description, total) as advance:
            yield advance
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    looks = (TextColumn("{task.description}"), BarColumn())
    more = (MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*looks, *more, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _plain_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        print(f"\r{description} {done}/{total}", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        print(file=sys.stderr)


def bytes_text(count: int) -> str:
    """E.g. "79,912": bytes, with separators, so that small differences stay visible."""
    return f"{count:,}"
