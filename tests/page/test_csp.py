from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from driver import Recorded, answers, body, call, html, start
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import ConfigurationError, UserComConfig, UserComMiddleware
from usercom_asgi.core.hooks import warn_once
from usercom_asgi.page.csp import CspSources, Policy, admit

NEEDS = CspSources.of("https://acme.user.com")
PAGE = b"<html><body>x</body></html>"
HOSTS = "https://acme.user.com https://widget.user.com"
CONNECTIONS = "https://acme.user.com wss://acme.user.com"


def csp(*policies: str, report: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    enforced = [(b"Content-Security-Policy", each.encode()) for each in policies]
    return [
        *enforced,
        *((b"content-security-policy-report-only", each.encode()) for each in report),
    ]


async def answer(
    headers: list[tuple[bytes, bytes]], *, nonce: Any = None, **settings: Any
) -> Recorded:
    app = answers(start([(b"content-type", b"text/html"), *headers]), body(PAGE))
    return await call(
        UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123", **settings), nonce=nonce)
    )


def nonces(got: Recorded) -> list[str | None]:
    tags = re.findall(rb"<script [^>]*>", got.body)
    assert len(tags) == 2
    found = [re.search(rb' nonce="([^"]*)"', tag) for tag in tags]
    return [each[1].decode() if each else None for each in found]


@pytest.mark.parametrize(
    ("headers", "nonce"),
    [
        (csp("script-src 'nonce-abc'"), "abc"),
        (csp("default-src 'self'; SCRIPT-SRC 'NONCE-aB+/9=='"), "aB+/9=="),
        (csp("default-src 'nonce-abc'"), "abc"),
        (csp("script-src-elem 'nonce-elem'; script-src 'nonce-abc'"), "elem"),
        (csp("img-src 'nonce-abc'"), None),
        (csp("default-src 'self'", "script-src 'nonce-two'"), "two"),
        (csp("default-src 'self', script-src 'nonce-list'"), "list"),
        (csp("script-src 'nonce-a' 'nonce-b'", "script-src 'nonce-b'"), "b"),
        (csp(report=("script-src 'nonce-only'",)), "only"),
        (csp("script-src 'nonce-real'", report=("script-src 'nonce-other'",)), "real"),
        (csp("script-src 'nonce-first'; script-src 'nonce-second'"), "first"),
        (csp("script-src 'nonce-a\"><script>'"), None),
        ([], None),
    ],
)
async def test_the_nonce_of_the_responses_own_policy(
    headers: list[tuple[bytes, bytes]], nonce: str | None
) -> None:
    got = await answer(headers)
    assert nonces(got) == [nonce, nonce]
    assert [pair for pair in got.headers if b"security" in pair[0].lower()] == headers


async def test_a_policy_in_the_page_is_not_looked_at() -> None:
    meta = b"<meta http-equiv=Content-Security-Policy content=\"script-src 'nonce-abc'\">"
    page = b"<html><head>" + meta + b"</head><body></body></html>"
    assert nonces(
        await call(UserComMiddleware(html(page), UserComConfig(app="acme", api_key="ABC123")))
    ) == [None, None]


async def test_the_nonce_of_the_hook() -> None:
    async def later(connection: Any) -> str:
        return f"hook{connection.url.path}"

    assert nonces(await answer([], nonce=lambda _: "hook")) == ["hook", "hook"]
    assert nonces(await answer(csp("script-src 'nonce-abc'"), nonce=later)) == ["hook/", "hook/"]
    assert nonces(await answer(csp("script-src 'nonce-abc'"), nonce=lambda _: None)) == [
        "abc",
        "abc",
    ]
    assert nonces(await answer(csp("script-src 'nonce-abc'"), nonce=lambda _: 1 / 0)) == [
        "abc",
        "abc",
    ]
    for odd in ('"><script>', "a\r\nx-evil: 1", "a' 'unsafe-eval'; img-src *", "é", b"abc", 7, ""):
        got = await answer(
            csp("script-src 'nonce-abc'"), nonce=lambda _, odd=odd: odd, csp="extend"
        )
        assert nonces(got) == ["abc", "abc"]
        assert b"evil" not in b"".join(value for _, value in got.headers)


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ("img-src 'self'", {}),
        ("script-src *  'unsafe-inline'; connect-src *", {}),
        ("script-src https: 'unsafe-inline'", {}),
        ("script-src https: 'unsafe-inline' 'sha256-abc='", {"script-src": ["'nonce'"]}),
        (
            "script-src 'self' 'nonce-n'",
            {"script-src": ["https://acme.user.com", "https://widget.user.com"]},
        ),
        ("script-src 'nonce-n' 'strict-dynamic'", {}),
        ("script-src 'strict-dynamic' https:", {"script-src": ["'nonce'"]}),
        ("script-src 'nonce-n' https://*.user.com", {}),
        ("script-src 'nonce-n' *.user.com:443", {}),
        ("script-src 'nonce-n' http://acme.user.com widget.user.com", {}),
        (
            "script-src 'nonce-n' https://acme.user.com/other/ https://widget.user.com",
            {"script-src": ["https://acme.user.com"]},
        ),
        (
            "script-src 'nonce-n' acme.user.com:8443 widget.user.com",
            {"script-src": ["https://acme.user.com"]},
        ),
        (
            "script-src 'nonce-n' acme.user.com:x widget.user.com:*",
            {"script-src": ["https://acme.user.com"]},
        ),
        ("connect-src 'self'", {"connect-src": ["https://acme.user.com", "wss://acme.user.com"]}),
        ("connect-src https://acme.user.com", {}),
        ("connect-src https:", {}),
        ("connect-src 'none'", {"connect-src": ["https://acme.user.com", "wss://acme.user.com"]}),
        (
            "script-src 'none'",
            {"script-src": ["'nonce'", "https://acme.user.com", "https://widget.user.com"]},
        ),
        ("", {}),
        (
            ";;; ; script-src",
            {"script-src": ["'nonce'", "https://acme.user.com", "https://widget.user.com"]},
        ),
    ],
)
def test_what_a_policy_lacks(policy: str, missing: dict[str, list[str]]) -> None:
    assert Policy(policy).missing(NEEDS, "n") == missing


async def test_what_keeps_the_widget_out_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            got = await answer(
                csp(
                    "default-src 'self'; connect-src 'self'",
                    report=("img-src x; script-src 'none'",),
                )
            )
    assert b"widget.js" in got.body
    assert [each.partition(": ")[2] for each in caplog.messages] == [
        "default-src lacks 'nonce' https://acme.user.com https://widget.user.com (said once)",
        "connect-src lacks https://acme.user.com wss://acme.user.com (said once)",
    ]


@pytest.mark.parametrize(
    ("policy", "extended"),
    [
        ("img-src 'self'; script-src 'self'", "img-src 'self'; script-src 'self' 'nonce-N' https://acme.user.com https://widget.user.com"),
        (
            "default-src 'self'",
            f"default-src 'self'; script-src 'self' 'nonce-N' {HOSTS}; connect-src 'self' {CONNECTIONS}",
        ),
        (
            "default-src 'none'; connect-src 'none'",
            f"default-src 'none'; connect-src {CONNECTIONS}; script-src 'nonce-N' {HOSTS}",
        ),
        ("script-src 'unsafe-inline' https:", "script-src 'unsafe-inline' https:"),
        ("script-src 'unsafe-inline'", "script-src 'unsafe-inline' https://acme.user.com https://widget.user.com"),
        ("script-src 'strict-dynamic' 'nonce-x'", "script-src 'strict-dynamic' 'nonce-x'"),
        ("script-src 'strict-dynamic'", "script-src 'strict-dynamic' 'nonce-N'"),
        ("connect-src https:", "connect-src https:"),
    ],
)  # fmt: skip
async def test_extended_by_the_fewest_sources(policy: str, extended: str) -> None:
    got = await answer(csp(policy, report=(policy,)), csp="extend")
    made = nonces(got)[0]
    assert got.all("content-security-policy") == [extended.replace("'nonce-N'", f"'nonce-{made}'")]
    assert got.all("content-security-policy-report-only") == got.all("content-security-policy")
    assert all(
        not Policy(extended.replace("'nonce-N'", "'nonce-n'")).missing(NEEDS, nonce)
        for nonce in (["n"] if "N" in extended else ["x"])
    )


def test_a_nonce_of_ours_is_another_at_each_response() -> None:
    made = {admit(csp("script-src 'self'"), NEEDS, None, extend=True)[1] for _ in range(10)}
    assert len(made) == 10


WORDS = (
    "'self'",
    "'none'",
    "'unsafe-inline'",
    "'nonce-a'",
    "'sha256-x='",
    "'strict-dynamic'",
    "*",
    "https:",
    "x:",
    "::",
    "//",
)
NAMES = ["default-src", "script-src", "script-src-elem", "connect-src", "img-src", "", "ä"]
SOURCES = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
POLICIES = st.lists(st.tuples(st.sampled_from(NAMES), SOURCES).map(" ".join), max_size=4).map(
    "; ".join
)


@given(st.lists(POLICIES, min_size=1, max_size=3))
def test_extended_a_policy_lacks_nothing_and_says_of_the_rest_what_it_said(
    texts: list[str],
) -> None:
    headers = [(b"content-security-policy", text.encode("latin-1")) for text in texts]
    changed, nonce, blocked = admit(headers, NEEDS, None, extend=True)
    assert blocked == []
    for (_, before), (_, after) in zip(headers, changed, strict=True):
        old, new = Policy(before.decode("latin-1")), Policy(after.decode("latin-1"))
        assert new.missing(NEEDS, nonce) == {}
        for name, sources in old.directives.items():
            now = new.directives[name]
            assert [each for each in now if each in sources] == [
                each for each in sources if each in now
            ]
            assert name in ("script-src", "script-src-elem", "connect-src") or now == sources


def test_there_are_two_ways() -> None:
    with pytest.raises(ConfigurationError, match="csp"):
        UserComConfig(app="acme", api_key="ABC123", csp="off")  # type: ignore[arg-type]
