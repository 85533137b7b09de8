"""Sphinx extension: a page of reference per module with public names, below ``docs/api/``."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment
from numpydoc import docscrape_sphinx
from sphinx.application import Sphinx

import minivid
from minivid.backend import Op

SKIPPED = ("minivid.kernels", "minivid.__main__")


def modules() -> list[str]:
    """Return the modules that get a page."""
    every = [m.name for m in pkgutil.walk_packages(minivid.__path__, "minivid.") if not m.name.startswith(SKIPPED)]
    return ["minivid", *sorted(every)]


def page(name: str) -> str | None:
    """Return the page of a module, or None if it only repeats others or has no public names."""
    module = importlib.import_module(name)
    own = [public for public in getattr(module, "__all__", ()) if _is_shown(module, public)]
    if not own:
        return None
    summary = " ".join(inspect.getdoc(module).split("\n\n")[0].split()).replace("|", "\\|")
    lines = [name, "=" * len(name), "", f".. py:module:: {name}", "", summary, ""]
    for public in own:
        kind = "class" if inspect.isclass(getattr(module, public)) else "function"
        lines += [f".. auto{kind}:: {name}.{public}"]
        lines += ["   :members:", "   :inherited-members: Exception, dict, tuple"] if kind == "class" else []
        lines += [""]
    return "\n".join(lines)


def _is_shown(module, name: str) -> bool:
    """Whether a name is a function or class that is best looked up in this module."""
    thing = getattr(module, name)
    if isinstance(thing, Op):
        return module.__name__ == thing.__module__
    known = inspect.isfunction(thing) or inspect.isclass(thing)
    return known and thing.__module__ == module.__name__


def escape_bars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep ``|y - t|`` an absolute value, which reStructuredText would take for a substitution."""
    for n, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")) and "``" not in line:
            lines[n] = re.sub(r"\|(?=\S[^|]*\|)|(?<=\S)\|", r"\\|", line)


def write_pages(app: Sphinx) -> None:
    """Write the pages; one that has not changed keeps its time, so that Sphinx need not read it again."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    pages = {name: text for name in modules() if (text := page(name))}
    index = (
        "API reference\n=============\n\nEvery public name, from the docstrings.\n\n.. toctree::\n   :maxdepth: 1\n\n"
    )
    pages["index"] = index + "".join(f"   {name}\n" for name in pages)
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def share_template() -> None:
    """Let numpydoc compile its template once: for every docstring anew, that is a tenth of a build."""
    folder = Path(docscrape_sphinx.__file__).parent / "templates"
    shared = SandboxedEnvironment(loader=FileSystemLoader(folder))
    docscrape_sphinx.SandboxedEnvironment = lambda loader: shared


def setup(app: Sphinx) -> dict:
    """Register this with Sphinx."""
    share_template()
    app.connect("builder-inited", write_pages, priority=2)
    app.connect("autodoc-process-docstring", escape_bars)
    return {"version": "1", "parallel_read_safe": True}
