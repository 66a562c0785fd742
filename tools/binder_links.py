"""Writes the Binder badge, and a link for each tutorial, into the README and its Chinese counterpart.

    python tools/binder_links.py owner/name

A link names the repository's public address, which no file of it can know: give it here once, after publishing or
forking. `none` takes the links out again.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=-->\n)[^<]*(?=<!-- /binder -->)")
REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")


class Page(NamedTuple):
    """A page with links, and its words for them."""

    name: str
    first: str
    """The notebook that the badge opens."""
    introduction: str
    tutorial: str
    comma: str
    without_address: str


PAGES = (
    Page(
        name="README.md",
        first="01_leftover_modules_to_save.ipynb",
        introduction="Open in a browser, without an installation: ",
        tutorial="tutorial {}",
        comma=", ",
        without_address="On Binder, in a browser and without an installation: "
        "`make binder-links REPOSITORY=owner/name` writes the badge and a\n"
        "link for each tutorial here, once the repository has a public address.",
    ),
    Page(
        name="README.zh.md",
        first="01_leftover_modules_to_save.zh.ipynb",
        introduction="无需安装，在浏览器中打开：",
        tutorial="教程 {}",
        comma="、",
        without_address="在 Binder 上无需安装即可在浏览器中打开：仓库有了公开地址之后，\n"
        "`make binder-links REPOSITORY=owner/name` 会在此处写入徽章和每篇教程的链接。",
    ),
)


def link(repository: str, notebook: str) -> str:
    """The address that opens a notebook of a GitHub repository in JupyterLab on mybinder.org."""
    return f"https://mybinder.org/v2/gh/{repository}/HEAD?labpath={quote(f'notebooks/{notebook}', safe='')}"


def links(page: Page, repository: str | None) -> str:
    """What stands between the marks of a page, with its line end."""
    if repository is None:
        return page.without_address + "\n"
    each = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        words = page.tutorial.format(int(path.name[:2])) + (" (中文)" if path.stem.endswith(".zh") else "")
        each.append(f"[{words}]({link(repository, path.name)})")
    badge = f"[![Binder](docs/images/binder.svg)]({link(repository, page.first)})"
    return f"{badge} {page.introduction}{page.comma.join(each)}\n"


def write(folder: Path, repository: str | None) -> None:
    """Replaces what stands between the marks of each page in a folder."""
    for page in PAGES:
        path = folder / page.name
        text = path.read_text(encoding="utf-8")
        if len(BLOCK.findall(text)) != 1:
            raise SystemExit(f"{page.name}: expected the marks <!-- binder: … --> and <!-- /binder --> once")
        before, _, after = text.partition(BLOCK.findall(text)[0])
        path.write_text(before + links(page, repository) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", help="owner/name on GitHub, or none")
    repository = parser.parse_args().repository
    if repository == "none":
        write(ROOT, None)
    elif REPOSITORY.fullmatch(repository):
        write(ROOT, repository)
    else:
        parser.error(f"{repository!r} is not owner/name")


if __name__ == "__main__":
    main()
