"""Executes a notebook in a fresh kernel and writes it as one HTML file that needs neither a kernel nor a network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor

WIDGET = "application/vnd.jupyter.widget-view+json"

# The stock page fetches scripts from a content delivery network; the tutorials need none of them. Its theme is light or
# dark; this one follows the reader.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
{{ super() }}
<style>
@media (prefers-color-scheme: dark) { :root { color-scheme: dark } {% include 'lab/static/theme-dark.css' %} }
.jp-RenderedHTMLCommon details > .highlight, .jp-RenderedHTMLCommon details > pre {
  background: var(--jp-cell-editor-background); margin: 0.5em 0 1em; overflow-x: auto; padding: 0.5em 1em;
}
.jp-RenderedHTMLCommon details > .highlight pre, .jp-RenderedHTMLCommon details > pre code { background: none; }
</style>
{%- endblock -%}
"""


def execute(source: Path, *, timeout: int = 300) -> nbformat.NotebookNode:
    """Runs all cells from top to bottom and returns the notebook with its outputs, without widgets.

    They then appear by their static HTML: with saved state a page would load them from outside hosts, and without it a
    notebook that is opened says "model not found" in their place.
    """
    notebook = nbformat.read(source, as_version=4)
    resources = {"metadata": {"path": str(source.parent)}}
    executor = ExecutePreprocessor(
        timeout=timeout, store_widget_state=False, record_timing=False, coalesce_streams=True
    )
    executor.preprocess(notebook, resources)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)
    notebook.metadata["language_info"] = {"name": "python"}  # the rest would name the Python at hand
    return notebook


def write_report(notebook: nbformat.NotebookNode, target: Path) -> Path:
    """Writes the notebook as a self-contained HTML page and returns its path."""
    loader = DictLoader({"report.html.j2": _TEMPLATE})
    exporter = HTMLExporter(extra_loaders=[loader], template_file="report.html.j2")
    page, _ = exporter.from_notebook_node(notebook)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("report", type=Path, nargs="?", help="HTML file to write")
    parser.add_argument("--save", action="store_true", help="also save the outputs in the notebook itself")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the tutorials build their models from a config
    notebook = execute(arguments.notebook)
    if arguments.save:
        nbformat.write(notebook, arguments.notebook)
        print(f"Outputs saved in {arguments.notebook}")
    if arguments.report:
        print(f"Report: {write_report(notebook, arguments.report).resolve()}")


if __name__ == "__main__":
    main()
