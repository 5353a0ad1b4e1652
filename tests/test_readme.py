"""What README.md and docs claim: its quick start, its links, and its names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.asgi_client import call
from helpers.documents import DOCS, PAGES, ROOT, blocks_of, page_of, write_files
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.voice import WORDS

from usercom_asgi import UserComConfig
from usercom_asgi.cli import make_parser as cli
from usercom_asgi.delivery.stats import Readiness, Stats
from usercom_asgi.demo.command import make_parser as demo
from usercom_asgi.sandbox.__main__ import make_parser

SANDBOX = "http://127.0.0.1:8900"
README = ROOT / "README.md"


def run(block: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    return namespace


async def test_template_block_places_the_snippet_of_its_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    blocks = blocks_of(DOCS / "guides/by-hand.md")
    write_files(blocks, tmp_path)
    monkeypatch.chdir(tmp_path)
    [block] = [each.code for each in blocks if "templates.env.globals" in each.code]
    got = await call(run(block)["app"])
    assert got.body.count(b"/widget.js") == 1
    assert b"/widget.js" in got.body.partition(b"</head>")[0]


def test_quick_start_without_an_account_shows_the_purchase_in_the_sandbox(
    usercom: FakeUserCom,
) -> None:
    """The browser's part is played by httpx: it loads the page and the widget, and pings."""
    pytest.importorskip("fastapi")
    [block] = [each.code for each in blocks_of(README) if each.file == "shop.py"]
    assert PAGES[README].index(block) < 1500
    app = run(block.replace(SANDBOX, usercom.url))["app"]
    with serve_app(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as browser:
        page = browser.get("/").text
        [widget] = re.findall(r'src="([^"]+/widget\.js)"', page)
        assert httpx.get(widget).status_code == 200
        browser.cookies.set("__ca__chat", usercom.new_user(), domain="127.0.0.1")
        assert browser.post("/buy").status_code == 303
    [purchase] = usercom.store.product_events
    assert (purchase.product_id, purchase.event_type) == ("sku-1", "purchase")
    dashboard = httpx.get(f"{usercom.url}/")
    assert dashboard.status_code == 200


def test_quick_start_names_the_addresses_of_the_commands() -> None:
    text = PAGES[README]
    assert f"Open http://127.0.0.1:8000, and {SANDBOX} beside it" in text
    assert make_parser().get_default("port") == 8900
    assert make_parser().get_default("api_key") == "ABC123"


def test_readme_has_one_page_of_at_most_700_words() -> None:
    assert len(PAGES[README].split()) <= 700


def test_readme_has_no_relative_link() -> None:
    """The package index shows it, too."""
    assert re.findall(r"\]\((?!https://)", PAGES[README]) == []


def test_settings_page_names_every_setting() -> None:
    text = PAGES[DOCS / "reference/settings.md"]
    for each in fields(UserComConfig):
        assert not each.init or f"`{each.name}`" in text, each.name


def test_stats_page_names_every_count_and_state() -> None:
    text = PAGES[DOCS / "reference/stats.md"]
    for each in (*fields(Stats), *fields(Readiness)):
        assert f"`{each.name}`" in text, each.name


def test_command_line_page_names_every_option() -> None:
    text = PAGES[DOCS / "reference/cli.md"]
    for parser in (make_parser(), demo(), *parsers_of(cli())):
        for action in parser._actions:
            for option in action.option_strings:
                assert option in text or option in ("-h", "--help", "--version"), option


def parsers_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers_of(each)


def slug(title: str) -> str:
    """Return the anchor that GitHub gives a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_titles(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if name.startswith("http"):
            found = page_of(name)
            if found is None:
                continue
            path = found
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in map(slug, titles), target


@pytest.mark.parametrize("name", ["README.md", "browser-sdk.md"])
def test_named_tests_and_examples_exist(name: str) -> None:
    [text] = [text for path, text in PAGES.items() if path.name == name]
    for path in re.findall(r"`((?:tests|examples)/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_holds_no_counted_word(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", " ", PAGES[page], flags=re.DOTALL).lower()
    counted = frozenset[str]().union(*WORDS.values())
    assert not counted & set(re.findall(r"[a-z'-]+", prose))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_holds_no_placeholder_or_todo(page: Path) -> None:
    assert "@@" not in PAGES[page]
    assert "TODO" not in PAGES[page]
