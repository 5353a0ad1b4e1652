"""The programs and links of README.md and docs."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.asgi_client import call
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.voice import WORDS

from usercom_asgi import UserComConfig
from usercom_asgi.sandbox.__main__ import _parser

SANDBOX = "http://127.0.0.1:8900"
ROOT = Path(__file__).parent.parent
PAGES = {
    path: path.read_text()
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
BLOCKS: list[str] = [
    block
    for text in PAGES.values()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
# Pages whose text does not hold the voice of CONTRIBUTING.md yet.
NOT_HELD = {"decisions.md"}


def block_with(code: str) -> str:
    [block] = [each for each in BLOCKS if code in each]
    return block


def run(block: str) -> dict[str, object]:
    namespace: dict[str, object] = {}
    exec(block, namespace)
    return namespace


@pytest.mark.filterwarnings("default")  # TestClient's own
def test_sandbox_block_is_a_test_that_passes() -> None:
    test = run(block_with("def test_a_purchase_arrives"))["test_a_purchase_arrives"]
    assert callable(test)
    test()


@pytest.mark.parametrize("code", ["async def home(", "def who("])
def test_application_block_makes_an_application(code: str) -> None:
    assert type(run(block_with(code))["app"]).__name__ == "Starlette"


def test_fastapi_block_makes_an_application() -> None:
    assert type(run(block_with("app = FastAPI()"))["app"]).__name__ == "FastAPI"


async def test_template_block_places_the_snippet_of_its_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    [markup] = re.findall(r"```html\n(.*?)```", PAGES[ROOT / "docs/pages.md"], re.DOTALL)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "index.html").write_text(f"<html><head>{markup}</head><body>")
    monkeypatch.chdir(tmp_path)
    app: Any = run(block_with("templates.env.globals"))["app"]
    got = await call(app)
    assert got.body.count(b"/widget.js") == 1
    assert got.body.endswith(b"</script>\n</head><body>")


def test_quick_start_without_an_account_shows_the_purchase_in_the_sandbox(
    usercom: FakeUserCom,
) -> None:
    """The browser's part is played by httpx: it loads the page and the widget, and pings."""
    block = block_with("async def home(")
    assert PAGES[ROOT / "README.md"].index(block) < 1500
    app: Any = run(block.replace(SANDBOX, usercom.url))["app"]
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
    text = PAGES[ROOT / "README.md"]
    assert f"Open http://127.0.0.1:8000, and {SANDBOX} beside it" in text
    assert _parser().get_default("port") == 8900
    assert _parser().get_default("api_key") == "ABC123"


def test_blocks_are_programs() -> None:
    assert len(BLOCKS) >= 9
    for block in BLOCKS:
        ast.parse(block)


def test_settings_page_names_every_setting() -> None:
    text = PAGES[ROOT / "docs/reference/settings.md"]
    for each in fields(UserComConfig):
        assert not each.init or f"`{each.name}`" in text, each.name


def slug(title: str) -> str:
    """Return the anchor that GitHub gives a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_titles(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
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
    if page.name in NOT_HELD:
        return
    prose = re.sub(r"```.*?```|`[^`]*`", " ", PAGES[page], flags=re.DOTALL).lower()
    counted = frozenset[str]().union(*WORDS.values())
    assert not counted & set(re.findall(r"[a-z'-]+", prose))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_holds_no_placeholder_or_todo(page: Path) -> None:
    assert "@@" not in PAGES[page]
    assert "TODO" not in PAGES[page]
