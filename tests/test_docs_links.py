"""Links between pages lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

import minivid

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "kernels" / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def text_of(page):
    """Return a page without its code blocks and code spans."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text_of(page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    broken = []
    for link in LINK.findall(text_of(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), f"{page}: {link}"
            continue
        file = (page.parent / target).resolve() if target else page
        inside = file.is_relative_to(ROOT)
        if not (inside and file.exists()) or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked():
    """A reader who starts at the README, or at the article, comes to every page."""
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        todo += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(text_of(page))]
    assert sorted(set(PAGES) - reached) == []


def test_the_operation_that_architecture_adds():
    """The worked example of docs/architecture.md is right, and its two implementations agree."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = {"__name__": "softplus"}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "<docs/architecture.md>", "exec"), names)  # asserts that the gradient is right
    x = np.array([[-800.0, -1.0, 0.0], [1.0, 2.0, 800.0]])
    y = names["softplus_forward"](x)
    np.testing.assert_allclose(y[0, 2], np.log(2))
    np.testing.assert_allclose(y - names["softplus_forward"](-x), x)
    with minivid.use("reference"):
        np.testing.assert_allclose(names["softplus_forward"](x), y)
