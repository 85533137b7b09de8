"""The index of kernels in ``kernels/README.md``: written by ``minivid cuda compile --page``, not by hand."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from minivid.cuda import source
from minivid.cuda.nvrtc import Resources
from minivid.files import replacing

__all__ = ["equations", "index", "write_index"]

_BLOCK = re.compile(r"(<!-- kernels -->\n).*?(<!-- end -->)", re.DOTALL)
_TAG = re.compile(r"\(([a-z]\w*\.\d+[a-z]?)\)")
_HEAD = re.compile(r"__(?:global|device)__[^;{}()=]*?(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")
_HEADER = ["operation", "kernel", "equations", "threads", "shared memory, float / double"]


def equations(text: str) -> dict[str, list[str]]:
    """Find the equations that each kernel cites: in the comment before it, in its lines, in the functions it calls.

    Parameters
    ----------
    text : str
        CUDA C.

    Returns
    -------
    dict of str to list of str
        The tags, in order.

    Examples
    --------
    >>> equations('''
    ... // The positive part of x (relu.1). One thread owns one element.
    ... extern "C" __global__ void relu_1(const real* x, real* y) {
    ...     y[threadIdx.x] = max(x[threadIdx.x], real(0));  // (relu.1)
    ... }
    ... ''')
    {'relu_1': ['relu.1']}
    """
    parts = _functions(text)
    return {name: sorted(_cited(name, parts, set()), key=_order) for name in source.kernels_in(text)}


def _functions(text: str) -> dict[str, str]:
    """Return every function of a source, from the end of the one before it to the line of the brace that closes it."""
    parts: dict[str, str] = {}
    begin = depth = 0
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            end = (text + "\n").index("\n", brace.end())  # a comment behind the brace belongs to it
            part, begin = text[begin:end], end
            head = _HEAD.search(part)
            if head:
                parts[head[1]] = parts.get(head[1], "") + part  # overloads are read together
    return parts


def _cited(name: str, parts: dict[str, str], seen: set[str]) -> set[str]:
    """Return the equations that a function cites, and those of the functions that it calls."""
    seen.add(name)
    tags = set(_TAG.findall(parts[name]))
    for called in re.findall(r"\b(\w+)\s*[(<]", parts[name]):
        if called in parts and called not in seen:
            tags |= _cited(called, parts, seen)
    return tags


def _order(tag: str) -> tuple[str, int, str]:
    family, _, number = tag.partition(".")
    return family, int(number.rstrip("abc")), number


def index(rows: Sequence[Resources]) -> str:
    """Return the index as a table in Markdown.

    Parameters
    ----------
    rows : sequence of Resources
        Of all kernels in both precisions, for one GPU or more: threads and shared memory are the same on all.

    Examples
    --------
    >>> print(index([]))
    | operation | kernel | equations | threads | shared memory, float / double |
    | --- | --- | --- | --- | --- |
    """
    kernels: dict[tuple[str, str], dict[str, Resources]] = {}
    for row in rows:
        kernels.setdefault((row.stem, row.kernel), {})[row.dtype] = row
    lines, above = [_HEADER, ["---"] * len(_HEADER)], None
    for (stem, kernel), by_dtype in kernels.items():
        single, double = by_dtype["float32"], by_dtype["float64"]
        tags = equations(source.load(stem).text)[kernel]
        lines.append(
            [
                _link(stem) if stem != above else "",
                f"`{kernel}`",
                ", ".join(f"({tag})" for tag in tags),
                _pair(str(single.threads or "any"), str(double.threads or "any")),
                _pair(_memory(single), _memory(double)),
            ]
        )
        above = stem
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _link(stem: str) -> str:
    docs = source.folder().parent / "docs"
    pages = [page for page in (docs / "ops" / f"{stem}.md", docs / f"{stem}.md") if page.is_file()]
    target = pages[0].relative_to(docs.parent).as_posix() if pages else None
    return f"[{stem}](../{target})" if target else stem


def _pair(single: str, double: str) -> str:
    return single if single == double else f"{single} / {double}"


def _memory(row: Resources) -> str:
    given = [f"{row.shared} B"] if row.shared else []
    return " + ".join(given + (["by launch"] if row.dynamic else [])) or "0"


def write_index(page: str | os.PathLike, rows: Sequence[Resources]) -> None:
    """Replace the index of a page, between its marks ``<!-- kernels -->`` and ``<!-- end -->``.

    Parameters
    ----------
    page : path
        ``kernels/README.md``.
    rows : sequence of Resources
        As for `index`.

    Raises
    ------
    ValueError
        If the page has no such marks.

    Examples
    --------
    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "README.md"
    >>> _ = page.write_text("<!-- kernels -->\\nold\\n<!-- end -->\\n")
    >>> write_index(page, [])
    >>> page.read_text().splitlines()[1]
    '| operation | kernel | equations | threads | shared memory, float / double |'
    """
    page = Path(page)
    text = page.read_text(encoding="utf-8")
    if not _BLOCK.search(text):
        raise ValueError(f"{page} has no marks <!-- kernels --> and <!-- end --> for the index")
    with replacing(page) as temporary:
        temporary.write_text(_BLOCK.sub(lambda found: f"{found[1]}{index(rows)}\n{found[2]}", text), encoding="utf-8")
