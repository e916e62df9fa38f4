"""The site: MyST pages, and tutorials in jupytext's percent format that are run when it is built (`make docs`)."""

project = "cropland"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".py": "myst-nb"}
exclude_patterns = ["_build", "conf.py", "evaluation", "lab"]
root_doc = "index"

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_execution_show_tb = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "cropland"
html_show_copyright = False  # the licence is in the README
html_extra_path = ["lab", "evaluation"]  # reports as they are
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # nothing is fetched when a page is read
suppress_warnings = ["mystnb.unknown_mime_type"]
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
