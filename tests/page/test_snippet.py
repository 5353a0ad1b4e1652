from __future__ import annotations

import json
import re

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi.page.snippet import forget_script, render, to_script

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def scripts(page: bytes) -> list[tuple[dict[str, str], str]]:
    tree = html5lib.parse(page.decode("ascii"), namespaceHTMLElements=False)
    return [(dict(each.attrib), each.text or "") for each in tree.iter("script")]


@pytest.mark.slow
@given(JSON)
def test_to_script_any_json_value_round_trips_without_markup(value: object) -> None:
    text = to_script(value)
    assert text.isascii()
    assert not re.search(r"[<>&]", text)
    assert json.loads(text) == value


@given(
    st.dictionaries(st.text(), st.text()),
    st.text(st.characters(max_codepoint=127, min_codepoint=32)),
)
def test_render_any_settings_and_nonce_stay_inside_the_two_script_tags(
    settings: dict[str, str], nonce: str
) -> None:
    found = scripts(render(settings, "https://acme.user.com/widget.js", nonce=nonce))
    assert len(found) == 2
    (first, code), (second, nothing) = found
    assert json.loads(code.removeprefix("window.civchat = ").removesuffix(";")) == settings
    assert (first.get("nonce", ""), second.get("nonce", "")) == (nonce, nonce)
    assert (second["src"], nothing) == ("https://acme.user.com/widget.js", "")


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>", "]]>", "\u2028alert(1)\u2029", "'-alert(1)-'", "\\", '"', "&lt;/script&gt;",
    "</SCRIPT >", "${alert(1)}", "\x00", "\U0001f600",
]  # fmt: skip


def test_render_hostile_settings_stay_inside_the_first_script() -> None:
    settings = {f"a{n}{value}": value for n, value in enumerate(HOSTILE)}
    found = scripts(render(settings, "https://acme.user.com/widget.js"))
    assert len(found) == 2
    assert json.loads(found[0][1].removeprefix("window.civchat = ").removesuffix(";")) == settings


def test_render_returns_the_two_tags_of_the_vendor() -> None:
    assert render({"apiKey": "ABC123"}, "https://acme.user.com/widget.js") == (
        b'<script data-cfasync="false" type="text/javascript">window.civchat = {"apiKey":"ABC123"};</script>'
        b'<script data-cfasync="false" type="text/javascript" async src="https://acme.user.com/widget.js"></script>'
    )


def test_render_with_forget_script_removes_the_old_key_before_the_widget_runs() -> None:
    page = render(
        {"apiKey": "A"},
        "https://a.user.com/widget.js",
        before=forget_script("newkey", ["example.com", None]),
    )
    (_, code), (loader, _) = scripts(page)
    assert code.index("localStorage.removeItem") < code.index("window.civchat")
    assert '("newkey",["example.com",""])' in code
    assert "src" in loader
