"""Sphinx configuration. ``sphinx-build -W docs site`` builds the site; docs/_ext holds what is special about it."""

import importlib.metadata
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # the gradient checks run beside the examples

from gallery import prepare, saved_pictures  # noqa: E402, as the path must be set first

project = "minivid"
author = "The minivid authors"
copyright = author
release = version = importlib.metadata.version("minivid")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "api",
    "equations",
    "gallery",
    "offline",
]
exclude_patterns = ["_ext", "_static", "_templates"]
default_role = "py:obj"

# --- pages: Markdown that GitHub shows too ------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["config.cache"]  # the gallery's functions are no plain values

# --- reference ----------------------------------------------------------------------------------------------------
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"  # the docstrings say more: shapes and units
autodoc_member_order = "bysource"

# --- formulas -----------------------------------------------------------------------------------------------------
mathjax3_config = {
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]], "tagSide": "right"},
    "chtml": {"displayAlign": "left"},
}

# --- examples -----------------------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": ".",
    "image_scrapers": (saved_pictures,),
    "reset_modules": (prepare,),
    "capture_repr": (),
    "plot_gallery": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "within_subsection_order": "ExampleTitleSortKey",
}

# --- looks --------------------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "minivid"
html_static_path = ["_static"]
html_css_files = ["minivid.css"]
html_js_files = ["minivid.js"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7fb8e0", "color-brand-content": "#7fb8e0"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_selector = "div.highlight:not(.source) > pre"
copybutton_prompt_text = "$ "
copybutton_exclude = ".no, .go, .gp"
