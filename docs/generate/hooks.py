"""What MkDocs asks while it builds the site: pages from elsewhere in the repository, and those made from the code."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.generate import pages, reference  # noqa: E402  the root is on the path from here on


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in pages.ELSEWHERE.items():
        files.append(File.generated(config, page, content=pages.page_from(source, page)))
    for page, make in reference.PAGES.items():
        files.append(File.generated(config, page, content=make()))
    for plot in sorted((ROOT / "bench" / "plots").glob("*.png")):
        files.append(File.generated(config, f"bench/plots/{plot.name}", abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    name = page.file.src_uri
    if (ROOT / "docs" / name).is_file():
        markdown = pages.relinked(markdown, source=f"docs/{name}", page=name)
    return pages.with_includes(markdown, name)
