"""What MkDocs does not do by itself.

The tutorials and the Chinese README become pages, and folders of pages need no list in `mkdocs.yml`.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"How to": "how-to", "Rules": "rules", "Formats": "formats", "Decisions": "decisions"}
NOTEBOOK = re.compile(r"\]\((?:\.\./)+notebooks/([\w.-]+)\.ipynb\)")
CHINESE = re.compile(r"\]\((?:\.\./)+README\.zh\.md\)")
NEXT_TO_IT = re.compile(r'href="([\w.-]+)\.ipynb"')
BODY = re.compile(r"<body[^>]*>")
BACK = """
<nav style="padding: 1em 2em 0; font-family: sans-serif">
  <a style="color: var(--jp-content-link-color)" href="../index.html">← peftviz</a>
</nav>
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists all pages of a folder after its index, in the order of their names."""
    entries: list[Any] = config.nav or []
    for entry in entries:
        for title, folder in FOLDERS.items():
            if isinstance(entry, dict) and title in entry:
                pages = sorted(path.name for path in (ROOT / "docs" / folder).glob("*.md"))
                entry[title] = [f"{folder}/{page}" for page in sorted(pages, key=lambda page: page != "index.md")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds each tutorial as one self-contained HTML page, made from the outputs that it was saved with."""
    tutorials = _run_tutorial()
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
            page = tutorials.write_report(nbformat.read(source, as_version=4), Path(folder) / "page.html")
            content = NEXT_TO_IT.sub(r'href="\1.html"', page.read_text(encoding="utf-8"))
            content = BODY.sub(lambda body: body[0] + BACK, content, count=1)
            files.append(File.generated(config, f"notebooks/{source.stem}.html", content=content))
    files.append(File.generated(config, "zh.md", content=_chinese_page()))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turns links that lead out of the folder of the documentation into links to the pages made of what is there."""
    up = "../" * page.file.src_uri.count("/")
    return CHINESE.sub(f"]({up}zh.md)", NOTEBOOK.sub(lambda link: f"]({up}notebooks/{link[1]}.html)", markdown))


def _chinese_page() -> str:
    """README.zh.md, with its links as they are seen from docs/."""
    text = (ROOT / "README.zh.md").read_text(encoding="utf-8").replace("[English](README.md)", "[English](index.md)")
    text = re.sub(r"(\]\(|\"|srcset=\")docs/", r"\1", text)
    text = re.sub(r"\]\(((?:rules|formats)/)\)", r"](\1index.md)", text)
    text = re.sub(r"\]\(notebooks/([\w.-]+)\.ipynb\)", r"](notebooks/\1.html)", text)
    return re.sub(r"\[([^]]+)\]\((?:LICENSE|CONTRIBUTING\.md)\)", r"\1", text)  # those two are no pages


def _run_tutorial() -> Any:
    spec = importlib.util.spec_from_file_location("run_tutorial", ROOT / "tools" / "run_tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
