"""Configuration of the documentation; CONTRIBUTING.md says how to build it."""

import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import skdbm

project = "skdbm"
author = "the skdbm developers"
copyright = author
version = release = skdbm.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"
# Figures and examples are run for the build, and shall run without a word.
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="sphinx|docutils|myst|numpydoc")
warnings.filterwarnings("ignore", message=".*non-interactive.*")

# Reference

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False


def skip_what_is_inherited_from_scikit_learn(app, what, name, obj, skip, options):
    """Leave out `get_params` and the like, whose docstrings link to another site."""
    return True if (getattr(obj, "__module__", None) or "").startswith("skl") else None


# Examples

#: These take minutes or want a network: shown, and run only where
#: SKDBM_DOC_ALL_EXAMPLES is set.
SLOW_EXAMPLES = ["digits_features", "newsgroups_topics", "spoken_digits"]

left_out = "" if os.environ.get("SKDBM_DOC_ALL_EXAMPLES") else "|".join(SLOW_EXAMPLES)
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": rf"/plot_(?!({left_out})\.py)",
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "write_computation_times": False,  # its page loads scripts from elsewhere
}

# Figures of the guide

plot_formats = [("svg", 72)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = False
plot_rcparams = {"savefig.bbox": "tight", "svg.hashsalt": "skdbm"}

# Pages

html_theme = "pydata_sphinx_theme"
html_title = f"skdbm {version}"
html_static_path = ["_static"]
html_css_files = ["skdbm.css"]
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
html_theme_options = {
    "show_prev_next": True,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
#: Pages that stand by themselves have nothing to navigate to at their side.
html_sidebars = {
    page: []
    for page in (
        "changelog",
        "design",
        "getting_started",
        "how_it_works",
        "likelihood",
        "results",
        "unit_types",
    )
}
copybutton_prompt_text = r">>> |\.\.\. ?|\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    """Connect the handlers above."""
    app.connect("autodoc-skip-member", skip_what_is_inherited_from_scikit_learn)
