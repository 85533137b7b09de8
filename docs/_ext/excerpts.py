"""Pieces of source files as HTML: coloured, numbered, shortened to what an equation needs, and linked back to it."""

import functools
import html
import re
from collections.abc import Iterable, Iterator

import traceability as trace
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CudaLexer, PythonLexer
from sphinx.util.osutil import relative_uri

__all__ = ["code_lines", "excerpt", "source_page"]

WHOLE = 16  # a body of that many lines is not shortened
AROUND = 2  # lines kept before and after each that cites the equation


def source_page(path: str) -> str:
    """Return the name of the page that shows a source file."""
    return f"source/{path}"


@functools.cache
def coloured(path: str) -> list[str]:
    """Return the lines of a file as HTML."""
    lexer = PythonLexer(stripnl=False) if path.endswith(".py") else CudaLexer(stripnl=False)
    return highlight(trace.text_of(path), lexer, HtmlFormatter(nowrap=True)).split("\n")


def code_lines(path: str, numbers: Iterable[int], docname: str, marked: Iterable[int]) -> Iterator[str]:
    """Yield lines of a file: on its own page as anchors, elsewhere with links to them."""
    page = source_page(path)
    uri = "" if page == docname else relative_uri(f"{docname}.html", f"{page}.html")
    for number in numbers:
        where = f'id="L{number}" ' if page == docname else ""
        css = "line marked" if number in marked else "line"
        text = linked(coloured(path)[number - 1], docname)
        yield f'<span class="{css}"><a class="no" {where}href="{uri}#L{number}">{number:>4}</a> {text}\n</span>'


def linked(line: str, docname: str) -> str:
    """Return a line of HTML whose tags lead to their equations."""
    return trace.CITATION.sub(lambda match: _link(match, docname), line)


def _link(match: re.Match, docname: str) -> str:
    equation = trace.equations().get(match[1])
    if equation is None:
        return match[0]
    page = equation.page.removesuffix(".md")
    here = "" if page == docname else relative_uri(f"{docname}.html", f"{page}.html")
    return f'(<a href="{here}#eq-{match[1].replace(".", "-")}">{match[1]}</a>)'


def excerpt(function: trace.Function, tag: str, docname: str, opened: bool) -> str:
    """Return the lines of a function that an equation needs, below its name and file."""
    cited = function.lines.get(tag, [])
    page = relative_uri(f"{docname}.html", f"{source_page(function.path)}.html")
    rungs = ", ".join(r for r in function.rungs if r != function.name and r != "reference")
    note = f" <small>{html.escape(rungs)}</small>" if rungs else ""
    where = f'<a href="{page}#L{(cited or [function.first])[0]}">{function.path}</a>'
    parts = []
    before = None
    for number in kept(function, cited):
        if before is not None and number != before + 1:
            indent = re.match(r"\s*", trace.text_of(function.path).splitlines()[number - 1])[0]
            parts.append(f'<span class="line left-out">     {indent}⋮\n</span>')
        parts += code_lines(function.path, [number], docname, cited)
        before = number
    return (
        f"<details{' open' if opened else ''}><summary><code>{html.escape(function.name)}</code>{note}</summary>"
        f'<div class="highlight"><pre>{"".join(parts)}</pre></div><p class="where">{where}</p></details>'
    )


def kept(function: trace.Function, cited: list[int]) -> list[int]:
    """Return the lines to show: the signature, cited lines and their neighbours, and the loops that they are in."""
    head = [function.signature] if function.path.endswith(".cu") else [_first_of_signature(function)]
    body = range(function.body, function.last + 1)
    if not cited:
        return [*range(function.first, function.first + 1), *body][: WHOLE + 1]
    if len(body) <= WHOLE:
        return sorted({*head, *body})
    lines = trace.text_of(function.path).splitlines()
    wanted = {n for line in cited for n in range(line - AROUND, line + AROUND + 1) if n in body}
    for line in cited:
        wanted |= set(_enclosing(lines, line, function.body))
    return sorted({*head, *wanted})


def _first_of_signature(function: trace.Function) -> int:
    lines = trace.text_of(function.path).splitlines()
    return next(n for n in range(function.first, function.last + 1) if re.match(r"\s*def ", lines[n - 1]))


def _enclosing(lines: list[str], line: int, first: int) -> Iterator[int]:
    """Yield the lines above that open the blocks around a line, by their indentation."""
    depth = _indent(lines[line - 1])
    for number in range(line - 1, first - 1, -1):
        text = lines[number - 1]
        if text.strip() and _indent(text) < depth:
            depth = _indent(text)
            yield number


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
