"""Sphinx extension: equations beside the code that computes them.

- every equation gets an anchor, and every ``(conv2d.3)`` in the text of a page leads to it;
- a page with equations ends with a section *Equation by equation*: left the formula, its tests and gradient checks,
  right the lines that cite it in the reference, the CPU and the CUDA code;
- the directive ``{code-of} conv2d.3`` puts such a pair elsewhere;
- ``{traceability}`` makes the table of all equations, which is also written to ``traceability.json``;
- every source file becomes a page, whose comments lead back to the equations.
"""

import html
import json
import re
from pathlib import Path, PurePosixPath

import gradchecks
import traceability as trace
from docutils import nodes
from excerpts import code_lines, excerpt, source_page
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

logger = logging.getLogger(__name__)
TABS = {"reference": "Reference", "shared": "Shared", "cpu": "CPU", "cuda": "CUDA"}


def anchor(tag: str, prefix: str = "eq") -> str:
    """Return the id of an equation: ``eq-conv2d-3``."""
    return f"{prefix}-{tag.replace('.', '-')}"


def uri_of(tag: str, docname: str) -> str:
    """Return the address of an equation from a page, which may be the equation's own."""
    page = trace.equations()[tag].page.removesuffix(".md")
    here = "" if page == docname else relative_uri(f"{docname}.html", f"{page}.html")
    return f"{here}#{anchor(tag)}"


def raw(text: str) -> nodes.raw:
    """Return HTML as a node."""
    return nodes.raw("", text, format="html")


# --- one equation and its code ------------------------------------------------------------------------------------


class equation_proof(nodes.General, nodes.Element):  # noqa: N801, as docutils names nodes
    """Where the tests and gradient checks of an equation will stand, once the checks have run."""


def pair(tag: str, docname: str) -> nodes.container:
    """Return an equation and its code side by side."""
    equation = trace.equations()[tag]
    latex = as_it_is(equation.latex)
    formula = nodes.math_block(latex, latex, nowrap=True, number=None, label=None)
    formula["no-wrap"] = True
    formula["classes"].append("copy")  # its anchor is where the page derives it
    left = nodes.container("", formula, equation_proof(tag=tag, docname=docname), classes=["eq-formula"])
    right = nodes.container("", raw(tabs(tag, docname)), classes=["eq-code"])
    return nodes.container("", left, right, classes=["eq-pair"], ids=[anchor(tag, "code")])


def as_it_is(latex: str) -> str:
    """Return a displayed formula that Sphinx hands on untouched: what it puts around formulas forbids tags."""
    return f"\\[{latex.strip()}\\]"


def tabs(tag: str, docname: str) -> str:
    """Return the code of an equation, a tab per kind of implementation."""
    shown = {kind: [] for kind in TABS}
    for function in trace.functions()[tag]:
        shown["cuda" if function.kind == "launch" else function.kind].append(function)
    if list(filter(None, shown.values())) == []:
        return f"<p>{elsewhere(tag, docname)}</p>"
    group, out = anchor(tag, "tab") + "-" + docname.replace("/", "-"), []
    kinds = [kind for kind in TABS if shown[kind]]
    for kind in kinds:
        checked = " checked" if kind == kinds[0] else ""
        label = "Code" if kinds == ["shared"] else TABS[kind]
        out.append(
            f'<input type="radio" name="{group}" id="{group}-{kind}" data-kind="{kind}"{checked}>'
            f'<label for="{group}-{kind}">{label}</label>'
        )
    for kind in kinds:
        bodies = "".join(excerpt(f, tag, docname, opened=n == 0) for n, f in enumerate(shown[kind]))
        out.append(f'<div class="tab" data-kind="{kind}">{bodies}</div>')
    return f'<div class="tabs">{"".join(out)}</div>'


def elsewhere(tag: str, docname: str) -> str:
    """Say which files state an equation that no function computes."""
    files = [path for path in trace.source_files() if f"({tag})" in trace.text_of(path)]
    links = ", ".join(source_link(path, docname) for path in files)
    return f"No single line computes it; it is stated in {links}."


def source_link(path: str, docname: str, line: int = 0, text: str = "") -> str:
    """Return a link to a source file's page, or to a line there."""
    at = f"#L{line}" if line else ""
    uri = relative_uri(f"{docname}.html", f"{source_page(path)}.html") + at
    return f'<a href="{uri}"><code>{html.escape(text or path)}</code></a>'


class CodeOf(SphinxDirective):
    """``{code-of} conv2d.3``: equations and their code side by side."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        unknown = [tag for tag in self.arguments[0].split() if tag not in trace.equations()]
        if unknown:
            raise self.error(f"no page has an equation {unknown[0]!r}; write its tag, such as conv2d.3")
        self.env.metadata[self.env.docname]["hide-toc"] = "true"
        return [pair(tag, self.env.docname) for tag in self.arguments[0].split()]


# --- what a page gets without asking --------------------------------------------------------------------------------


NOT_PROSE = (
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.reference,
    nodes.title,
    nodes.comment,
)


class Equations(SphinxTransform):
    """Anchors for equations, links to them, links to source files, and the section at the end of the page."""

    default_priority = 400  # before references are resolved and files to download are collected

    def apply(self) -> None:
        tags = self.anchors()
        if tags and isinstance(self.document.next_node(nodes.section), nodes.section):
            self.append_section(tags)
        self.link_downloads()
        self.link_literals()
        self.link_citations()

    def anchors(self) -> list[str]:
        """Name the formulas that have a tag, and return the tags."""
        found = []
        for block in self.document.findall(nodes.math_block):
            if "copy" in block["classes"]:
                continue
            tags = trace.TAG.findall(block.astext())
            if tags:
                block["nowrap"] = block["no-wrap"] = True
                block.children = [nodes.Text(as_it_is(block.astext()))]
            block["ids"] += [anchor(tag) for tag in tags[:1]]
            parent = block.parent
            for tag in tags:
                here = parent.index(block)
                link = f'<a class="to-code" href="#{anchor(tag, "code")}">code and proof</a>'
                parent.insert(here + 1, raw(link))
            found += tags
        return found

    def append_section(self, tags: list[str]) -> None:
        """Add the equations and their code at the end of the page, over the whole width."""
        docname = self.env.docname
        title = next(iter(self.document.findall(nodes.section)))
        intro = nodes.paragraph(
            "",
            "Each formula beside the lines that cite it, taken from the sources when this page was built. "
            "Marked lines compute the formula.",
        )
        section = nodes.section("", nodes.title("", "Equation by equation"), intro, ids=["equation-by-equation"])
        section += [pair(tag, docname) for tag in tags]
        contents = [s for s in title.children if isinstance(s, nodes.section)]
        title += section
        title.insert(1, self.on_this_page([*contents, section]))
        self.env.metadata[docname]["hide-toc"] = "true"

    def on_this_page(self, sections: list[nodes.section]) -> nodes.Node:
        """Return one line of links to sections: the column for that has gone to the code."""
        links = [f'<a href="#{s["ids"][0]}">{html.escape(s[0].astext())}</a>' for s in sections if s["ids"]]
        return raw(f'<nav class="on-this-page" aria-label="On this page">{" · ".join(links)}</nav>')

    def link_downloads(self) -> None:
        """Let links to files of the repository lead to their pages instead of downloads."""
        for node in list(self.document.findall(lambda n: isinstance(n, download_reference | pending_xref))):
            path = node.get("reftarget", "") if node.get("reftype") == "myst" else ""
            if docname := self.page_of(self.file_of(path)):
                at = f"#{node['reftargetid']}" if node.get("reftargetid") else ""
                uri = relative_uri(f"{self.env.docname}.html", f"{docname}.html") + at
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))

    def file_of(self, path: str) -> str:
        """Return the file, relative to the repository, that a page means, or an empty string."""
        folder = PurePosixPath("kernels" if self.env.docname == "kernels" else f"docs/{self.env.docname}/..")
        for candidate in (folder / path, folder / f"{path}.md"):  # MyST takes the suffix off
            resolved = (trace.ROOT / candidate).resolve()
            if path and resolved.is_file() and resolved.is_relative_to(trace.ROOT):
                return resolved.relative_to(trace.ROOT).as_posix()
        return ""

    def page_of(self, path: str) -> str | None:
        """Return the page that shows a file of the repository."""
        if path.startswith("examples/") and path.endswith(".py"):
            return "auto_examples/" + PurePosixPath(path).stem
        special = {"kernels/README.md": "kernels", "README.md": "index"}
        return special.get(path) or (source_page(path) if path in trace.source_files() else None)

    def link_literals(self) -> None:
        """Let names of files and tests in backticks lead to them."""
        for node in list(self.document.findall(nodes.literal)):
            text = node.astext()
            if isinstance(node.parent, nodes.reference | download_reference):
                continue
            if text in trace.source_files():
                uri = f"{source_page(text)}.html"
            elif re.fullmatch(r"test_\w+", text) and (test := trace.test_named(text, self.env.docname)):
                uri = f"{source_page(test.path)}.html#L{test.line}"
            else:
                continue
            uri = relative_uri(f"{self.env.docname}.html", uri)
            node.replace_self(nodes.reference("", "", node.deepcopy(), refuri=uri, internal=True))

    def link_citations(self) -> None:
        """Let ``(conv2d.3)`` in running text lead to the equation."""
        for node in list(self.document.findall(nodes.Text)):
            around = node.parent  # None inside a formula that MathJax gets as it is
            if around is None or isinstance(around, NOT_PROSE):
                continue
            parts = re.split(r"(?<=\()([a-z]\w*\.\d+[a-z]?)(?=\))", str(node))
            if not any(part in trace.equations() for part in parts[1::2]):
                continue
            linked = [
                nodes.reference("", part, refuri=uri_of(part, self.env.docname), internal=True)
                if n % 2 and part in trace.equations()
                else nodes.Text(part)
                for n, part in enumerate(parts)
            ]
            around.replace(node, linked)


# --- proofs -----------------------------------------------------------------------------------------------------


def wait_for_checks(app: Sphinx) -> gradchecks.Results:
    """Return the gradient checks, which have been running since the build began."""
    if not hasattr(app, "gradchecks"):
        if app.gradchecks_process.wait():
            said = app.gradchecks_file.with_suffix(".log").read_text(encoding="utf-8")
            logger.warning("the gradient checks did not run to the end: %s", said[-2000:])
            app.gradchecks = gradchecks.Results([])
        else:
            app.gradchecks = gradchecks.Results(json.loads(app.gradchecks_file.read_text(encoding="utf-8")))
        for record in app.gradchecks.records:
            if record["verdict"] != "ok":
                logger.warning("the gradient check of %(operation)s, %(implementation)s: %(verdict)s", record)
    return app.gradchecks


def tests_of(tag: str) -> list[trace.Test]:
    """Return the tests that prove an equation, the most specific first."""
    family = trace.equations()[tag].family
    return trace.citing_tests().get(tag) or trace.hand_worked(family) or trace.file_tests(tag)


def checks_of(tag: str, results: gradchecks.Results) -> tuple[dict[str, dict], bool]:
    """Return the worst record of every implementation, and whether they are of the equation itself.

    If neither the checker nor a test knows an equation by itself, it is a step on the way, and the figure is that of
    the whole operation.
    """
    family = trace.equations()[tag].family
    own = results.of(tag)
    worst = {}
    on_the_way = [] if trace.citing_tests().get(tag) else results.of_operation(family)
    for record in own or on_the_way:
        kept = worst.setdefault(record["implementation"], record)
        worst[record["implementation"]] = max(kept, record, key=lambda r: r["error"])
    return worst, bool(own)


def figure(error: float) -> str:
    """Return an error as text: ``2e-16``."""
    return "0" if error == 0 else f"{error:.0e}"


def proof_html(tag: str, docname: str, results: gradchecks.Results) -> str:
    """Return the tests and the gradient checks of an equation."""
    tests = [source_link(t.path, docname, t.line, t.name or PurePosixPath(t.path).name) for t in tests_of(tag)[:4]]
    lines = [f"<dt>Tests</dt><dd>{', '.join(tests)}</dd>"] if tests else []
    worst, own = checks_of(tag, results)
    if worst:
        cells = "".join(f"<span>{name} <b>{figure(record['error'])}</b></span>" for name, record in worst.items())
        record = next(iter(worst.values()))
        is_gradient = record["gradient"].startswith("d")
        what = f"{record['gradient']}, by {record['method']}" if is_gradient else "output, against the reference"
        what = what if own else f"of {record['operation']} as a whole"
        lines.append(
            f"<dt>Gradient check</dt><dd>{what}, in float64; at most {figure(record['tolerance'])}"
            f'<div class="errors">{cells}</div></dd>'
        )
    return f'<dl class="proof">{"".join(lines)}</dl>'


def fill_proofs(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put tests and gradient checks where their place was kept."""
    for node in list(doctree.findall(equation_proof)):
        node.replace_self(raw(proof_html(node["tag"], docname, wait_for_checks(app))))
    for node in list(doctree.findall(equation_table)):
        node.replace_self(raw(table_html(docname, wait_for_checks(app))))


# --- the table of all equations --------------------------------------------------------------------------------------


class equation_table(nodes.General, nodes.Element):  # noqa: N801
    """Where the table of all equations will stand."""


class Traceability(SphinxDirective):
    """``{traceability}``: the table of all equations."""

    def run(self) -> list[nodes.Node]:
        self.env.metadata[self.env.docname]["hide-toc"] = "true"
        return [equation_table()]


def records(results: gradchecks.Results) -> list[dict]:
    """Return one record per equation: where it is derived, computed, tested, and how exact it is."""
    found = []
    for tag, equation in trace.equations().items():
        code = {"reference": [], "shared": [], "cpu": [], "cuda": [], "launch": []}
        for f in trace.functions()[tag]:
            code[f.kind].append({"file": f.path, "line": f.lines.get(tag, [f.first])[0], "function": f.name})
        worst, own = checks_of(tag, results)
        found.append(
            {
                "equation": tag,
                "page": f"docs/{equation.page}",
                "latex": trace.TAG.sub("", equation.latex).strip(),
                "code": code,
                "tests": [{"file": t.path, "line": t.line, "test": t.name} for t in tests_of(tag)],
                "checked": "itself" if own else "as a part of its operation" if worst else "by tests",
                "max_error": {name: record["error"] for name, record in worst.items()},
            }
        )
    return found


def table_html(docname: str, results: gradchecks.Results) -> str:
    """Return the table of all equations."""
    rows, family = [], ""
    for record in records(results):
        tag, code = record["equation"], record["code"]
        if family != (family := trace.equations()[tag].family):
            rows.append(f'<tr class="family"><th colspan="7">{family}</th></tr>')
        cells = [f'<a href="{uri_of(tag, docname)}">{tag}</a>']
        cells += [_places(code["reference"], docname), _places(code["cpu"] + code["shared"], docname)]
        cells += [_places(code["cuda"], docname), _emulated(record)]
        cells += [
            _exact(record),
            ", ".join(_place(t["file"], t["line"], t["test"], docname) for t in record["tests"][:2]),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("equation", "reference", "CPU", "CUDA", "emulator", "max error", "tests")
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="table-wrapper"><table class="docutils traceability">{body}</table></div>'


def _place(path: str, line: int, name: str, docname: str) -> str:
    return source_link(path, docname, line, name or PurePosixPath(path).name)


def _places(places: list[dict], docname: str) -> str:
    shown = [_place(p["file"], p["line"], f"{PurePosixPath(p['file']).name}:{p['line']}", docname) for p in places[:2]]
    more = f" +{len(places) - 2}" if len(places) > 2 else ""
    return " ".join(shown) + more or "—"


def _emulated(record: dict) -> str:
    error = record["max_error"].get("emulator")
    return "—" if error is None or not record["code"]["cuda"] else _figure(error, record)


def _exact(record: dict) -> str:
    errors = [error for name, error in record["max_error"].items() if name != "emulator"]
    return _figure(max(errors), record) if errors else "by tests"


def _figure(error: float, record: dict) -> str:
    text = figure(error)
    return text if record["checked"] == "itself" else f'<span class="indirect">({text})</span>'


# --- the build ----------------------------------------------------------------------------------------------------


def begin(app: Sphinx) -> None:
    """Start the gradient checks, and stop the build if an equation has no code or no test."""
    Path(app.doctreedir).mkdir(parents=True, exist_ok=True)
    app.gradchecks_file = Path(app.doctreedir) / "gradchecks.json"
    app.gradchecks_process = gradchecks.start(app.gradchecks_file)
    app.source_pages, app.navigation = {source_page(path) for path in trace.source_files()}, {}


def report_problems(app: Sphinx, env) -> None:
    """Warn, which is an error with ``-W``, of equations without code or test."""
    for problem in trace.problems(record["equation"] for record in wait_for_checks(app).records):
        logger.warning(problem)


def source_pages(app: Sphinx):
    """Yield a page for every source file."""
    for path in trace.source_files():
        docname = source_page(path)
        lines = "".join(code_lines(path, range(1, len(trace.text_of(path).splitlines()) + 1), docname, {}))
        body = f'<h1><code>{path}</code></h1><div class="highlight source"><pre>{lines}</pre></div>'
        context = {"title": path, "body": body, "parents": [], "display_toc": False, "meta": {"hide-toc": "true"}}
        yield docname, context, "page.html"


def share_navigation(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Compute the navigation of source pages once per folder depth: doing it for each of them is a third of a build."""
    if pagename in app.source_pages:
        depth, toctree = pagename.count("/"), context["toctree"]
        if depth not in app.navigation:
            app.navigation[depth] = toctree(collapse=False, titles_only=True, maxdepth=-1, includehidden=True)
        context["toctree"] = lambda **options: app.navigation[depth]


def write_json(app: Sphinx, error: Exception | None) -> None:
    """Write ``traceability.json`` beside the pages."""
    if error is None and app.builder.format == "html":
        text = json.dumps(records(wait_for_checks(app)), indent=1, ensure_ascii=False)
        (Path(app.outdir) / "traceability.json").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register all this with Sphinx."""
    app.add_node(equation_proof)
    app.add_node(equation_table)
    app.add_directive("code-of", CodeOf)
    app.add_directive("traceability", Traceability)
    app.add_transform(Equations)
    app.connect("builder-inited", begin, priority=1)
    app.connect("env-updated", report_problems)
    app.connect("doctree-resolved", fill_proofs)
    app.connect("html-collect-pages", source_pages)
    app.connect("html-page-context", share_navigation, priority=400)  # before the theme draws it
    app.connect("build-finished", write_json)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False, "parallel_write_safe": False}
