"""Sphinx extension: examples with their pictures, by sphinx-gallery.

The examples save their pictures below ``minivid_examples/``; the scraper here shows what a cell has saved. Their cells
of text are Markdown, of which headings and links are turned into reStructuredText.
"""

import os
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

__all__ = ["saved_pictures"]

_shown: dict[Path, float] = {}


def saved_pictures(block: tuple, block_vars: dict, gallery_conf: dict) -> str:
    """Return reStructuredText that shows the pictures saved since the cell before.

    Parameters
    ----------
    block, block_vars, gallery_conf
        As sphinx-gallery gives them to a scraper.
    """
    source = Path(block_vars["src_file"])
    folder = source.parent / "minivid_examples" / source.stem
    shown = []
    for picture in sorted(folder.rglob("*")):
        if picture.suffix not in (".png", ".gif") or picture.is_relative_to(folder / "data"):
            continue
        changed = picture.stat().st_mtime
        if _shown.get(picture) == changed or picture.parent != folder:
            continue
        _shown[picture] = changed
        target = Path(next(block_vars["image_path_iterator"])).with_suffix(picture.suffix)
        shutil.copyfile(picture, target)
        shown.append(str(target))
    return figure_rst(shown, gallery_conf["src_dir"])


#: Examples that run as they are, because they need but seconds; MINIVID_DOCS_EXAMPLES=. names all, for minutes more.
FULL_SIZE = re.compile(os.environ.get("MINIVID_DOCS_EXAMPLES", "adding_problem|edges|video_io"))

TOY = """.. note::

   These pages were built with this example at toy size, in seconds: its pictures show what it draws, its figures mean
   nothing. Run it yourself, in one or two minutes.
"""


def prepare(gallery_conf: dict, fname: str) -> None:
    """Choose the size of an example, and take pictures of an earlier run for shown; called before each example."""
    os.environ.pop("MINIVID_EXAMPLE_TOY", None)
    if not FULL_SIZE.search(Path(fname).stem):
        os.environ["MINIVID_EXAMPLE_TOY"] = "1"
    folder = Path(gallery_conf["src_dir"]).parent / "examples" / "minivid_examples" / Path(fname).stem
    _shown.update({picture: picture.stat().st_mtime for picture in folder.glob("*") if picture.is_file()})


def to_restructured_text(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give generated pages of examples a title, and turn their Markdown into reStructuredText."""
    if not docname.startswith("auto_examples/") or docname.endswith(("index", "sg_execution_times")):
        return
    text = source[0]
    head, label, rest = text.partition(f".. _sphx_glr_{docname.replace('/', '_')}.py:\n")
    first, _, rest = rest.strip().partition("\n\n")
    title = first.replace("\n", " ").partition(":")[0]
    note = "" if FULL_SIZE.search(docname) else TOY
    text = f"{head}{label}\n{title}\n{'=' * len(title)}\n\n{first}\n\n{note}\n{rest}"
    text = re.sub(r"^## (.+)$", lambda m: f"{m[1]}\n{'-' * len(m[1])}\n", text, flags=re.MULTILINE)
    text = re.sub(r"^ +minivid: compiling its loops.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^\.\. rst-class:: sphx-glr-script-out\n\s+\.\. code-block:: none\n\s*\n(?=\S)", "", text, flags=re.MULTILINE
    )
    source[0] = re.sub(r"\[([^\]\n]+)\]\((https?://[^)\s]+)\)", r"`\1 <\2>`__", text)


def setup(app: Sphinx) -> dict:
    """Register the conversion with Sphinx; sphinx-gallery itself is configured in conf.py."""
    app.connect("source-read", to_restructured_text)
    return {"version": "1", "parallel_read_safe": True}
