"""The site of the documentation builds strictly, needs no other host, and its reference is what the code says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
import typer.main

from docs.generate import pages, reference
from import_platform import errors
from import_platform.cli.app import app
from import_platform.components.declaration import SourceYaml
from import_platform.sources.registry import KINDS
from tests.browser.conftest import PAGE_SECONDS, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]

"""Building the site takes four seconds of a processor, which a busy machine may not have for minutes."""

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def build(site: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(site)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site; strict, so that a link to nothing or a page that nobody reaches fails here."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Asked(HTMLParser):
    """What a browser loads by itself when it opens a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        loads = (
            of.get("src") if tag in {"script", "img", "iframe", "source"} else of.get("href") if tag == "link" else None
        )
        if loads and of.get("rel") not in {"canonical", "prev", "next"}:
            self.found.append(loads)


def plain(html: str) -> str:
    """The words of a page, tags left out."""
    text = re.sub(r"<[^>]+>", "", html)
    return re.sub(
        r"\s+",
        " ",
        text.replace("&quot;", '"')
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&"),
    )


def sources() -> Iterator[Path]:
    yield from (path for path in sorted((ROOT / "docs").rglob("*.md")))


@pytest.mark.slow
def test_every_page_loads_what_lies_beside_it_and_nothing_of_another_host(site: Path) -> None:
    built = sorted(site.rglob("*.html"))
    assert len(built) > 25
    for page in built:
        base = site if page.name == "404.html" else page.parent
        for loads in Asked(page.read_text("utf-8")).found:
            assert "//" not in loads, (page.name, loads)
            target = loads.split("?")[0].lstrip("/") if page.name == "404.html" else loads.split("?")[0]
            assert (base / target).is_file(), (page.name, loads)
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", styles) == []


@pytest.mark.slow
def test_the_pages_of_the_reference_hold_what_the_code_says(site: Path) -> None:
    said = {
        name: plain((site / "reference" / f"{name}.html").read_text("utf-8"))
        for name in ("commands", "errors", "declaration")
    }
    for command in COMMANDS.values():
        assert (command.help or "")[:60] in said["commands"]
        for parameter in command.params:
            assert all(option in said["commands"] for option in parameter.opts if option.startswith("--"))
    for one in reference.raised():
        assert re.sub(r"[`\s]+", " ", one.sentence).strip() in said["errors"].replace("`", ""), one
    for kind in KINDS.values():
        assert plain(kind.example) in said["declaration"]


@pytest.mark.slow
def test_a_link_to_nothing_fails_the_site(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    config = config.replace("hooks: [docs/generate/hooks.py]", f"hooks: [{ROOT / 'docs/generate/hooks.py'}]")
    (tmp_path / "mkdocs.yml").write_text(config, "utf-8")
    page = tmp_path / "docs" / "tour.md"
    page.write_text(page.read_text("utf-8") + "\n[gone](nowhere.md) and [lost](runbook.md#no-such-heading)\n", "utf-8")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr
    assert "no-such-heading" in done.stderr


def test_every_word_of_a_declaration_is_in_the_reference_and_explained() -> None:
    text = reference.declaration()
    schema = SourceYaml.model_json_schema()
    table = schema["$defs"]["TableYaml"]["properties"]
    nested = [field["properties"] for field in table.values() if "properties" in field]
    for fields in (schema["properties"], table, *nested):
        for name in fields:
            row = re.search(rf"^\| `{name}`[^|]*\| ((?:[^|]|\\\|)+) \| (.+) \|$", text, re.MULTILINE)
            assert row is not None, name
            assert row[2].strip(), f"{name} has no description"
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == set(KINDS)


def test_a_new_option_a_new_word_and_a_new_error_appear_by_themselves(tmp_path: Path) -> None:
    fresh = typer.Typer()

    @fresh.command()
    def dance(steps: int = typer.Option(3, "--steps", help="How many.")) -> None:
        """Dance."""

    made = reference._command(typer.main.get_command(fresh), ["import-platform"])
    assert "import-platform dance [OPTIONS]" in made
    assert re.search(r"\| `--steps[^`]*` \| How many\. Left out: `3`\. \|", made)
    (tmp_path / "new.py").write_text(
        'raise ConfigError(f"the {name} is odd", remedy="Even it.") if x else TableBusy("a" if y else "b")'
    )
    assert list(reference.raised(tmp_path)) == [
        reference.Raised("ConfigError", "the … is odd", "Even it."),
        reference.Raised("TableBusy", "a", ""),
        reference.Raised("TableBusy", "b", ""),
    ]
    table = reference._fields({"properties": {"mood": {"type": ["string", "null"], "description": "good | bad"}}})
    assert "| `mood` | text | good \\| bad |" in table


def test_every_class_of_error_is_in_the_reference_with_its_exit_code() -> None:
    text = reference.error_pages()
    for kind in reference.error_kinds():
        assert f"\n## {kind.__name__}\n" in text
        assert re.search(rf"^\| \[{kind.__name__}\]\([^)]*\) \| .+ \| {kind.exit_code} \| ", text, re.MULTILINE)
    abstract = {errors.ImportPlatformError, errors.RetryableError}
    assert {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    } - abstract == set(reference.error_kinds())
    assert len(reference.raised()) > 200


def test_the_runbook_quotes_errors_that_there_are() -> None:
    quoted = re.findall("“([^”]+)”", (ROOT / "docs" / "runbook.md").read_text("utf-8"))
    assert len(quoted) > 10
    assert set(quoted) - {one.sentence for one in reference.raised()} == set()


def test_a_part_of_another_page_comes_with_its_links_turned() -> None:
    text = "# T\n\nintro [a](docs/rest.md#x) ![b](docs/images/asset.png)\n\n## One\n\n[bench](bench/README.md) [ci](.ci/run) [out](https://x.y) [no](gone.md)\n"
    assert pages.section(text, "One").startswith("[bench]")
    assert pages.section(text, None).startswith("intro")
    with pytest.raises(LookupError, match="there are One"):
        pages.section(text, "Two")
    turned = pages.relinked(text, source="README.md", page="concepts/merge.md")
    assert "[a](../rest.md#x) ![b](../images/asset.png)" in turned
    assert "[bench](../benchmarks.md) ci [out](https://x.y) [no](gone.md)" in turned
    assert (
        pages.relinked("[law](../ARCHITECTURE.md)", source="docs/rest.md", page="rest.md") == "[law](architecture.md)"
    )


def test_every_include_finds_its_part() -> None:
    for path in sources():
        assert "<!-- " not in pages.with_includes(path.read_text("utf-8"), str(path.relative_to(ROOT / "docs"))), path


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "diagrams").glob("*.svg")), ids=lambda path: path.stem)
def test_a_diagram_draws_itself_and_stands_on_a_page(picture: Path) -> None:
    text = picture.read_text("utf-8")
    assert text.startswith("<svg ")
    assert "<title>" in text
    assert "href" not in text
    assert any(f"diagrams/{picture.name}" in path.read_text("utf-8") for path in sources())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.browser
def test_a_browser_asks_nobody_else_draws_every_picture_and_finds_a_word(browser: Browser, site: Path) -> None:
    asked: list[str] = []
    with served(site) as address:
        page = browser.new_page()
        page.set_default_timeout(PAGE_SECONDS * 1000)
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "concepts/partition-tree", "benchmarks"):
            page.goto(f"{address}/{name}.html", wait_until="load")
            widths = page.eval_on_selector_all("article img", "images => images.map(image => image.naturalWidth)")
            assert widths, name
            assert all(width > 0 for width in widths), name
        field = page.get_by_placeholder("Search")
        field.click()
        field.press_sequentially("conditional put")  # the page listens to keys
        page.locator(".md-search-result__link", has_text="Runbook").first.wait_for()
        page.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
