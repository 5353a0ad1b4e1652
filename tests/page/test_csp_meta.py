"""Policies in the page itself, and headers beside the policy that keep the widget out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.asgi_client import Recorded, call, html

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.page.preamble import meta_policies

NONCE = "script-src 'nonce-r4nd0m' 'strict-dynamic'"


def page(policy: str, *, name: str = "Content-Security-Policy") -> bytes:
    meta = f'<meta http-equiv="{name}" content="{policy}">'
    return f"<!doctype html><html><head>{meta}<title>x</title></head><body>x</body></html>".encode()


async def answer(
    content: bytes, *, size: int = 0, headers: dict[str, str] | None = None, **settings: Any
) -> Recorded:
    cuts = range(0, len(content), size or len(content))
    first, *others = [content[n : n + (size or len(content))] for n in cuts]
    app = html(first, *others, headers=headers, length=not size)
    config = UserComConfig(app="acme", api_key="ABC123", **settings)
    return await call(UserComMiddleware(app, config))


def nonces(got: Recorded) -> set[str]:
    tags = re.findall(rb"<script data-cfasync[^>]*>", got.body)
    assert len(tags) == 2
    found = [re.search(rb' nonce="([^"]*)"', tag) for tag in tags]
    return {each[1].decode() for each in found if each}


@pytest.mark.parametrize("position", ["body", "head"])
@pytest.mark.parametrize("size", [0, 1, 50])
async def test_fit_snippet_policy_in_the_page_names_the_nonce(
    position: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    got = await answer(page(NONCE), size=size, position=position)
    assert nonces(got) == {"r4nd0m"}
    assert not caplog.records


@pytest.mark.parametrize(
    "written",
    [
        "<meta content='script-src &#39;nonce-a&#39;' HTTP-EQUIV=content-security-policy>",
        "<META\nhttp-equiv=' CONTENT-SECURITY-POLICY '\ncontent=\"script-src 'nonce-a'\"/>",
    ],
)
def test_meta_policies_any_notation_is_read(written: str) -> None:
    assert meta_policies(b"<title>x</title>" + written.encode()) == ["script-src 'nonce-a'"]


@pytest.mark.parametrize(
    "written",
    [
        "<meta name=Content-Security-Policy content=x>",
        "<meta http-equiv=Content-Security-Policy-Report-Only content=x>",
        "<meta http-equiv=Content-Security-Policy content='x",
    ],
)
def test_meta_policies_other_tags_are_none(written: str) -> None:
    assert meta_policies(written.encode()) == []


async def test_fit_snippet_policy_that_blocks_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = page("default-src 'self'; sandbox")
    for _ in range(2):
        assert nonces(await answer(content)) == set()
    [message] = [each.message for each in caplog.records]
    assert message.startswith(
        "Content-Security-Policy in a <meta> of the page blocks the widget: add the directive "
        "\"script-src 'nonce-...' https://acme.user.com https://widget.user.com\""
    )
    assert "sandbox" not in message, "it is ignored in a <meta>"


async def test_fit_snippet_nonce_of_the_header_stays(caplog: pytest.LogCaptureFixture) -> None:
    policy = {"content-security-policy": "script-src 'nonce-header' 'strict-dynamic'"}
    assert nonces(await answer(page(NONCE), headers=policy)) == {"header"}
    assert len(caplog.records) == 1
    assert nonces(await answer(page(NONCE + " 'nonce-header'"), headers=policy)) == {"header"}
    assert len(caplog.records) == 1


async def test_fit_snippet_policy_behind_the_head_counts_as_little_as_in_a_browser(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meta = b"<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    await answer(b"<html><head></head><body>" + meta + b"</body></html>")
    assert not caplog.records


async def test_fit_snippet_attacker_cannot_leave_the_attribute() -> None:
    got = await answer(page("script-src 'nonce-a&quot;><script>'"))
    assert nonces(got) == set()


@pytest.mark.parametrize(
    ("value", "warnings"),
    [("require-corp", 1), ("require-corp; report-to=x", 1), ("credentialless", 0)],
)
async def test_responder_embedder_policy_that_blocks_is_logged_once(
    value: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        got = await answer(
            b"<html><body>x</body></html>", headers={"Cross-Origin-Embedder-Policy": value}
        )
        assert b"widget.js" in got.body
    found = [each.message for each in caplog.records]
    assert len(found) == warnings
    assert all("credentialless" in each for each in found)


async def test_check_csp_sandbox_without_scripts_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = b"<html><body>x</body></html>"
    await answer(content, headers={"content-security-policy": "sandbox allow-scripts"})
    assert not caplog.records
    await answer(content, headers={"content-security-policy": "sandbox allow-forms"})
    assert [each.message for each in caplog.records] == [
        'Content-Security-Policy blocks the widget: add "allow-scripts" to sandbox (logged once)'
    ]
