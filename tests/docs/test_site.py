"""The built site: complete, offline, and right in a browser. Skips where it is not built or Chromium is missing."""

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADING = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
}


class Page(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(LOADING.get(tag)):
            self.loaded.append(attributes[LOADING[tag]])


@pytest.fixture(scope="module")
def site():
    folder = Path(os.environ.get("MINIVID_SITE", ROOT / "site"))
    if not (folder / "index.html").is_file():
        pytest.skip("the site is not built; README.md has the command, MINIVID_SITE names its folder")
    return folder.resolve()


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_loaded_from_the_network(site, pages):
    outside = {url for page in pages.values() for url in page.loaded if urlsplit(url).netloc}
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    outside |= set(re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", styles))
    assert outside == set()


def test_every_link_inside_the_site_leads_somewhere(site, pages):
    broken = set()
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            fragment = unquote(url.fragment)
            if not target.is_file() or (fragment and target in pages and fragment not in pages[target].ids):
                broken.add(f"{path.relative_to(site)}: {link}")
    assert sorted(broken) == []


def test_every_equation_is_on_the_site(site, pages):
    records = json.loads((site / "traceability.json").read_text(encoding="utf-8"))
    assert len(records) > 100
    for record in records:
        page = pages[site / record["page"].removeprefix("docs/").replace(".md", ".html")]
        number = record["equation"].replace(".", "-")
        assert {f"eq-{number}", f"code-{number}"} <= page.ids
        assert any(record["code"].values()) or record["tests"], record["equation"]
    convolution = next(record for record in records if record["equation"] == "conv2d.2")
    assert convolution["code"]["reference"][0]["function"] == "conv2d_backward_input_reference"
    assert 0 < convolution["max_error"]["reference"] < 1e-10


def test_code_is_shown_as_it_is_in_the_sources(site):
    text = (site / "ops" / "conv2d.html").read_text(encoding="utf-8")
    plain = re.sub(r"<[^>]+>", "", text)
    line = next(
        line
        for line in (ROOT / "minivid/ops/conv2d.py").read_text().splitlines()
        if "(conv2d.2)" in line and "@" in line
    )
    assert line.strip() in plain.replace("&#39;", "'").replace("&quot;", '"').replace("&gt;", ">").replace("&lt;", "<")


# --- in a browser --------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
HARNESS = """<!doctype html><meta charset="utf-8">
<iframe id="page" style="width:{width}px;height:900px" src="/{page}"></iframe>
<pre id="found"></pre><script>
const page = document.getElementById("page");
const look = () => {{ const d = page.contentDocument, w = page.contentWindow; const found = {probe};
  document.getElementById("found").textContent = "FOUND" + JSON.stringify(found) + "END"; }};
page.onload = () => setTimeout(look, 4000);
</script>"""
LAYOUT = """{
  math: d.querySelectorAll("mjx-container").length,
  formulas: d.querySelectorAll(".math").length,
  errors: d.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  wide: d.documentElement.scrollWidth - d.documentElement.clientWidth,
  cut: [...d.querySelectorAll("div.math")].filter(m => m.scrollWidth > m.clientWidth + 1).map(m => m.id),
  pairs: [...d.querySelectorAll(".eq-pair")].map(p => [...p.children].map(c => c.getBoundingClientRect().left)),
}"""


@contextlib.contextmanager
def served(folder, harness):
    """Serve a folder, and the harness as /harness.html, from this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/harness.html":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(harness.encode())

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def open_page(address, tmp_path):
    """Return what a page has become in the browser, and what it said on the console."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    options += ["--virtual-time-budget=15000", "--window-size=1600,1000", f"--user-data-dir={tmp_path}"]
    done = subprocess.run([CHROMIUM, *options, address], capture_output=True, text=True, timeout=120)
    said = re.findall(r':CONSOLE[^\]]*\] "(.*?)", source', done.stderr)
    return done.stdout, [line for line in said if "favicon" not in line]


def look(site, tmp_path, page, width, probe=LAYOUT):
    with served(site, HARNESS.format(page=page, width=width, probe=probe)) as address:
        dom, said = open_page(f"{address}/harness.html", tmp_path)
    assert said == [], "the console of the browser"
    return json.loads(re.search("FOUND(.*)END", dom)[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@browser
@pytest.mark.parametrize("page", ["ops/conv2d", "ops/lstm", "traceability", "source/kernels/conv2d.cu"])
@pytest.mark.parametrize("width", [1500, 390])
def test_layout(site, tmp_path, page, width):
    found = look(site, tmp_path, f"{page}.html", width)
    assert found["math"] == found["formulas"]
    assert found["errors"] == 0
    assert found["wide"] <= 1  # nothing to scroll sideways but the boxes of code and formulas
    assert found["cut"] == [] or width == 390  # formulas are drawn smaller where there is less room, to a limit
    columns = {2 if right > left + 200 else 1 for left, right in found["pairs"]}
    assert columns == ({2 if width == 1500 else 1} if page.startswith("ops/") else set())


@browser
@pytest.mark.parametrize("query", ["winograd", "forget"])
def test_search_without_a_network(site, tmp_path, query):
    """The search works on the files themselves, without a server."""
    dom, said = open_page(f"{(site / 'search.html').as_uri()}?q={query}", tmp_path)
    assert said == []
    assert re.search(r'<ul[^>]* class="search">\s*<li[^>]*>\s*<a href="[^"]+', dom)
