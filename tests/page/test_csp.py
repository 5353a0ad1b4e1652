from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import Recorded, answers, body, call, html, start
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.page.csp import CspSources, Policy, check_csp, parse_policies

NEEDED = CspSources.for_origin("https://acme.user.com")
PAGE = b"<html><body>x</body></html>"


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
async def test_csp_nonce_in_the_response_policy_is_set_on_both_tags(
    headers: list[tuple[bytes, bytes]], nonce: str | None
) -> None:
    got = await answer(headers)
    assert nonces(got) == [nonce, nonce]
    assert [pair for pair in got.headers if b"security" in pair[0].lower()] == headers


async def test_nonce_hook_overrides_the_policy_nonce_unless_its_result_is_invalid() -> None:
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
        got = await answer(csp("script-src 'nonce-abc'"), nonce=lambda _, odd=odd: odd)
        assert nonces(got) == ["abc", "abc"]
        assert b"evil" not in b"".join(value for _, value in got.headers)


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ("img-src 'self'", {}),
        (
            "default-src 'self' 'nonce-n'",
            {
                "script-src": ["https://acme.user.com", "https://widget.user.com"],
                "connect-src": ["https://acme.user.com", "wss://acme.user.com"],
            },
        ),
        ("script-src *  'unsafe-inline'; connect-src *", {}),
        ("script-src https: 'unsafe-inline'", {}),
        ("script-src https: 'unsafe-inline' 'sha256-abc='", {"script-src": ["'nonce-...'"]}),
        (
            "script-src 'self' 'nonce-n'",
            {"script-src": ["https://acme.user.com", "https://widget.user.com"]},
        ),
        ("script-src 'nonce-n' 'strict-dynamic'", {}),
        ("script-src 'strict-dynamic' https:", {"script-src": ["'nonce-...'"]}),
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
        ("connect-src https://acme.user.com", {"connect-src": ["wss://acme.user.com"]}),
        ("connect-src acme.user.com", {"connect-src": ["wss://acme.user.com"]}),
        ("connect-src https:", {"connect-src": ["wss://acme.user.com"]}),
        ("connect-src https: wss:", {}),
        ("connect-src https: ws://acme.user.com", {}),
        ("connect-src *", {}),
        ("connect-src 'none'", {"connect-src": ["https://acme.user.com", "wss://acme.user.com"]}),
        (
            "script-src 'none'",
            {"script-src": ["'nonce-...'", "https://acme.user.com", "https://widget.user.com"]},
        ),
        ("", {}),
        (
            ";;; ; script-src",
            {"script-src": ["'nonce-...'", "https://acme.user.com", "https://widget.user.com"]},
        ),
    ],
)
def test_missing_sources_of_a_policy_returns_the_sources_by_directive(
    policy: str, missing: dict[str, list[str]]
) -> None:
    assert Policy(policy).missing_sources(NEEDED, "n") == missing


async def test_csp_that_blocks_the_widget_warns_once_with_the_sources_to_add(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            got = await answer(
                csp(
                    f"default-src 'self'; connect-src 'self'; style-src 'nonce-{n}'",
                    report=("img-src x; script-src 'none'",),
                )
            )
    assert b"widget.js" in got.body
    assert caplog.messages == [
        (
            "Content-Security-Policy blocks the widget: "
            "add the directive \"script-src 'nonce-...' https://acme.user.com https://widget.user.com\" "
            'with the sources of default-src and add "https://acme.user.com wss://acme.user.com" to connect-src and set style-src-elem '
            "with \"'unsafe-inline'\" and without nonces and hashes "
            "(for the widget's <style> elements) (logged once)"
        )
    ]


async def test_csp_whose_nonce_changes_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            await answer(csp(f"script-src 'nonce-{n}' https://acme.user.com"))
    assert caplog.messages == [
        'Content-Security-Policy blocks the widget: add "https://widget.user.com" to script-src (logged once)'
    ]


STYLE = "(for the widget's <style> elements)"


@pytest.mark.parametrize(
    ("policy", "advice"),
    [
        ("script-src * 'unsafe-inline'", None),
        ("style-src 'unsafe-inline'", None),
        ("style-src 'unsafe-inline' 'strict-dynamic'", None),
        ("style-src-attr 'none'", None),
        ("style-src 'none'; style-src-elem 'UNSAFE-INLINE'", None),
        ("style-src 'self'", f"add \"'unsafe-inline'\" to style-src {STYLE}"),
        (
            "style-src-elem 'self'; style-src 'unsafe-inline'",
            f"add \"'unsafe-inline'\" to style-src-elem {STYLE}",
        ),
        (
            "style-src 'unsafe-inline' 'nonce-n'",
            f"set style-src-elem with \"'unsafe-inline'\" and without nonces and hashes {STYLE}",
        ),
        (
            "style-src 'sha256-x='",
            f"set style-src-elem with \"'unsafe-inline'\" and without nonces and hashes {STYLE}",
        ),
        (
            "default-src *; script-src * 'unsafe-inline'",
            f"add the directive \"style-src 'unsafe-inline'\" with the sources of default-src {STYLE}",
        ),
        (
            "require-trusted-types-for 'script'; trusted-types x",
            "remove require-trusted-types-for, under which widget.js does not start unless the page has a default policy",
        ),
        ("trusted-types 'none'", None),
    ],
)
def test_advice_of_a_policy_names_styles_and_trusted_types(policy: str, advice: str | None) -> None:
    assert Policy(policy).advice(NEEDED, "n") == advice


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
def test_missing_sources_added_to_a_policy_leave_nothing_missing(texts: list[str]) -> None:
    headers = [(b"content-security-policy", text.encode("latin-1")) for text in texts]
    nonce, advice = check_csp(headers, NEEDED, None)
    policies = [policy for policy, _ in parse_policies(headers)]
    blocks = [
        each.missing_sources(NEEDED, nonce) or each.advice(NEEDED, nonce) for each in policies
    ]
    assert len(advice) == sum(map(bool, blocks))
    for policy in policies:
        for name, sources in policy.missing_sources(NEEDED, nonce).items():
            given_sources = policy.directives.get(name, policy.directives.get("default-src", []))
            added = [each.replace("nonce-...", f"nonce-{nonce or 'n'}") for each in sources]
            policy.directives[name] = [*given_sources, *added]
        assert policy.missing_sources(NEEDED, nonce or "n") == {}


HELLO = b"<html><body>hello</body></html>"


@pytest.mark.parametrize("path", ["/widget.js", "/", ""])
async def test_csp_with_the_path_of_the_script_logs_no_warning(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = (
        f"script-src 'unsafe-inline' https://acme.user.com{path} https://widget.user.com; "
        "connect-src https://acme.user.com wss://acme.user.com"
    )
    await call(make_app(html(HELLO, headers={"content-security-policy": policy})))
    assert not caplog.records


async def test_csp_with_other_paths_warns_with_the_sources_to_add(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = (
        "script-src 'unsafe-inline' https://acme.user.com/other.js https://widget.user.com/widget.js; "
        "connect-src https://acme.user.com/widget.js wss://acme.user.com"
    )
    await call(make_app(html(HELLO, headers={"content-security-policy": policy})))
    assert [each.message.partition(": ")[2] for each in caplog.records] == [
        (
            'add "https://acme.user.com https://widget.user.com" to script-src '
            'and add "https://acme.user.com" to connect-src (logged once)'
        ),
    ]
