"""Pages that the application names by their file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import Recorded, answers, call, start
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

PAGE = b"<!doctype html><html><body>static</body></html>"
PATHSEND: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}


def send_path(path: Path, **headers: str) -> Any:
    given = {"content-type": "text/html", **headers}
    return make_app(answers(start(given), {"type": "http.response.pathsend", "path": str(path)}))


async def test_pathsend_static_page_is_the_page_without_the_extension(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(PAGE)
    app = make_app(Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path, html=True))]))
    got = await call(app, **PATHSEND)
    got.assert_legal()
    assert b"widget.js" in got.body
    assert got.header("content-length") == str(len(got.body))
    assert got.body == (await call(app)).body
    head = await call(app, method="HEAD", **PATHSEND)
    assert (head.types, head.body) == (["start", "body"], b"")


async def test_pathsend_other_files_still_go_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "app.css").write_text("p {}")
    app = make_app(Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path))]))
    got = await call(app, "/app.css", **PATHSEND)
    assert got.types == ["start", "pathsend"]


@pytest.mark.parametrize("size", [0, 10, 256 * 1024, 256 * 1024 + 1, 1_000_000])
async def test_pathsend_page_of_any_size_gets_the_snippet_once(tmp_path: Path, size: int) -> None:
    page = PAGE.replace(b"static", b"x" * size)
    for each in (page, page.ljust(size, b" ")):
        (tmp_path / "page.html").write_bytes(each)
        got = await call(send_path(tmp_path / "page.html", **{"content-length": str(len(each))}))
        got.assert_legal()
        before, _, behind = got.body.partition(b"<script data-cfasync")
        assert before == each[: each.index(b"</body>")]
        assert behind.endswith(each[each.index(b"</body>") :])
        assert got.body.count(b"widget.js") == 1


async def test_pathsend_encoded_page_gets_the_snippet(tmp_path: Path) -> None:
    (tmp_path / "page.html.gz").write_bytes(gzip.compress(PAGE))
    got = await call(send_path(tmp_path / "page.html.gz", **{"content-encoding": "gzip"}))
    assert b"widget.js" in gzip.decompress(got.body)


async def test_pathsend_file_that_cannot_be_read_is_left_to_the_server(tmp_path: Path) -> None:
    got = await call(send_path(tmp_path / "missing.html", **{"content-length": "5"}))
    assert got.types == ["start", "pathsend"]
    assert got.header("content-length") == "5"


async def test_pathsend_to_head_reads_no_file(tmp_path: Path) -> None:
    got = Recorded({})
    await call(send_path(tmp_path / "missing.html"), method="HEAD", record=got)
    assert got.types == ["start", "body"]


async def test_pathsend_message_after_the_page_passes(tmp_path: Path) -> None:
    message = {"type": "http.response.pathsend", "path": str(tmp_path / "missing.html")}
    page = {"type": "http.response.body", "body": PAGE}
    got = await call(make_app(answers(start(), page, message)))
    assert got.types == ["start", "body", "pathsend"]


@pytest.mark.parametrize("path", ["/tmp/\0", "/tmp/\ud800", None, 7])
async def test_pathsend_of_a_path_that_no_file_has_passes_to_the_server(path: Any) -> None:
    message = {"type": "http.response.pathsend", "path": path}
    got = await call(make_app(answers(start({"content-type": "text/html"}), message)))
    assert got.messages[-1] == message
