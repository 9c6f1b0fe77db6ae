"""Settings of Sphinx; `docs/build_site.py` calls it."""

project = "gga-sweep"
html_title = "gga-sweep"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
html_copy_source = False
