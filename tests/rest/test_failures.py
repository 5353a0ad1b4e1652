"""Guards ``rest/failures.py``: errors by kind, and nothing in them that was sent."""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.rest_server import TOKEN, RestServer, Scripted
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import UserComError
from usercom_asgi.core.exceptions import DeliveryError
from usercom_asgi.rest import (
    AmbiguousError,
    BadRequestError,
    CustomId,
    Email,
    ForbiddenError,
    NoResponseError,
    NotFoundError,
    RateLimitError,
    RedirectError,
    RejectedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
    UserComRest,
)
from usercom_asgi.rest.call import Token
from usercom_asgi.rest.failures import failure_of, scrubber

KINDS: list[tuple[int, type[DeliveryError]]] = [
    (302, RedirectError),
    (400, BadRequestError),
    (401, UnauthorizedError),
    (403, ForbiddenError),
    (404, NotFoundError),
    (405, RejectedError),
    (408, ServerError),
    (425, ServerError),
    (429, RateLimitError),
    (500, ServerError),
    (599, ServerError),
]


@pytest.mark.parametrize(("status", "kind"), KINDS)
async def test_failure_of_status_is_its_kind(
    rest: UserComRest, server: RestServer, status: int, kind: type[DeliveryError]
) -> None:
    server.answer({"detail": "No."}, status, allow="GET", set_cookie="a=b", location="/x?a=b")
    with pytest.raises(kind) as raised:
        await rest.with_options(retries=0).users.get(CustomId("cust-52"))
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.method, error.path) == (
        status,
        "GET",
        "/users-by-id/:custom_id/",
    )
    assert isinstance(error, UserComError)
    assert "No." not in error.reason  # for logs: the server may name other people
    assert error.headers["allow"] == "GET"
    assert not error.headers.keys() & {"set-cookie", "location"}
    assert "cust-52" not in f"{error} {vars(error)}"


def test_kinds_stand_under_the_two_that_the_delivery_knows() -> None:
    for unavailable in (RateLimitError, ServerError, RedirectError, NoResponseError):
        assert issubclass(unavailable, UnavailableError)
    for rejected in (
        *(BadRequestError, UnauthorizedError, ForbiddenError),
        *(NotFoundError, AmbiguousError, UnexpectedResponseError),
    ):
        assert issubclass(rejected, RejectedError)


async def test_redirect_is_not_followed_and_not_repeated(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(None, 301, location="/api/public/users/53/")
    with pytest.raises(RedirectError, match="check subdomain and base_url") as raised:
        await rest.users.get(52)
    assert raised.value.not_sent
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (
            {"errors": {"gender": ['"robot" is not a valid choice.']}},
            {"gender": ('"..." is not a valid choice.',)},
        ),
        (
            {"gender": ["A valid integer is required."]},
            {"gender": ("A valid integer is required.",)},
        ),
        ({"errors": {"lines": [{"value": ["No."]}]}}, {"lines[0].value": ("No.",)}),
        ({"errors": "No."}, {"": ("No.",)}),
        ({"detail": "No."}, {}),
        (["No."], {}),
    ],
)
async def test_bad_request_has_the_errors_of_fields(
    rest: UserComRest, server: RestServer, body: object, errors: dict[str, Any]
) -> None:
    server.answer(body, 400)
    with pytest.raises(BadRequestError) as raised:
        await rest.users.update(52, attributes={"gender_text": "robot"})
    assert raised.value.errors == errors
    assert "robot" not in str(raised.value)


async def test_error_text_names_the_field_and_the_remedy(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"errors": {"email": ["Enter a valid address."]}}, 400)
    with pytest.raises(
        BadRequestError, match=r"^PUT /users/:id/ answered 400: email: Enter a valid address\.$"
    ):
        await rest.users.update(52, email="x@y.example")
    server.answer({"detail": "Invalid token."}, 401, www_authenticate="Token")
    with pytest.raises(UnauthorizedError, match=r"Invalid token\. \(check the token\)$"):
        await rest.users.get(52)


SENT = ["ada@shop.example", "Ada Nowak", "+48600100200", "1893542400", "gold plan"]


@pytest.mark.parametrize("value", SENT)
async def test_error_holds_no_value_that_was_sent(
    rest: UserComRest, server: RestServer, value: str
) -> None:
    texts = [f"{value} is taken.", f"User {value.upper()} exists", f"'{value}' no", f"x{value}y"]
    server.answer({"detail": texts[0], "errors": {"a": texts, value: ["No."]}}, 400)
    with pytest.raises(BadRequestError) as raised:
        await rest.users.update(CustomId(value), attributes={"a": [{"b": value}]})
    assert value.lower() not in f"{raised.value} {raised.value!r} {vars(raised.value)}".lower()
    server.answer({"detail": texts[0]}, 404)
    with pytest.raises(NotFoundError) as not_found:
        await rest.users.list(name=value)
    assert value.lower() not in f"{not_found.value} {vars(not_found.value)}".lower()


@pytest.mark.slow
@given(st.text(st.sampled_from("xyzXYZ@+ß"), min_size=3, max_size=30), st.integers(0, 4000))
def test_scrubber_leaves_no_sent_text(value: str, before: int) -> None:
    scrub = scrubber({"a": [{"b": value}]}, hide=lambda text: text)
    for text in ("." * before + value, f"{value}, " * before, f"{value.upper()} is taken"):
        found = scrub(text)
        assert value.lower() not in found.lower()
        assert len(found) <= 300


def test_scrubber_hides_numbers_and_dates_as_whole_words() -> None:
    sent = {"a": 9, "b": datetime(2030, 1, 2, tzinfo=UTC), "c": "x", "d": 4.5, "e": True}
    text = "9 is not 19, 2030-01-02T00:00:00+00:00, 4.5 and x are no choices of True."
    expected = "... is not 19, ..., ... and x are no choices of True."
    assert scrubber(sent, hide=lambda given: given)(text) == expected


@pytest.mark.parametrize("start", range(22))
def test_scrubber_cut_within_a_value_leaves_no_beginning(start: int) -> None:
    value = "ada-nowak-of-the-shop"
    text = "".join(value + " " for _ in range(500))[start:]
    found = scrubber({"a": value}, hide=lambda text: text)(text)
    assert "ada-n" not in found[5:]
    assert scrubber(*(f"value-{n}" for n in range(2000)), hide=str)("value-1999 x") == "..."


def every_error() -> list[DeliveryError]:
    errors: list[DeliveryError] = []
    for _, kind in KINDS:
        error = kind("GET /users/:id/ answered 400", status=400)
        error.method, error.path, error.detail = "GET", "/users/:id/", "No."
        error.headers = {"allow": "GET"}
        errors.append(error)
    errors.append(NoResponseError("x", not_sent=True))
    ambiguous = AmbiguousError("x", status=200)
    ambiguous.ids = (1, 2)
    errors.append(ambiguous)
    return errors


@pytest.mark.parametrize("error", every_error(), ids=lambda each: type(each).__name__)
def test_error_survives_a_pickle(error: DeliveryError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


async def fail(rest: UserComRest, server: RestServer, how: str) -> None:
    """Make one call fail in a way of its own."""
    if how == "status":
        server.answer({"detail": f"Token {TOKEN} is wrong"}, 401)
        await rest.users.get(52)
    elif how == "lost":
        server.hang()
        await rest.with_options(timeout=0.05).events.create(52, "paid")
    elif how == "html":
        server.page(200)
        await rest.users.get(Email("ada@shop.example"))
    elif how == "long":
        await rest.users.list(name="x" * 70_000)
    elif how == "value":
        await rest.users.update(52, attributes={"a": object()})
    elif how == "elsewhere":
        server.answer({"next": "https://evil.example", "results": []})
        _ = [each async for each in rest.tags.list()]
    elif how == "unreached":
        async with UserComRest(base_url="http://127.0.0.1:9", token=TOKEN, retries=0) as other:
            await other.users.get(52)
    else:
        UserComRest(subdomain="acme", token=TOKEN, timeout=-1)


@pytest.mark.parametrize(
    "how", ["status", "lost", "html", "long", "value", "elsewhere", "unreached", "configuration"]
)
async def test_traceback_with_its_variables_holds_no_token(
    rest: UserComRest, server: RestServer, how: str
) -> None:
    """Error trackers send the variables of each frame."""
    with pytest.raises(UserComError) as raised:
        await fail(rest, server, how)
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    )
    assert "rest" in shown
    assert TOKEN not in shown
    assert TOKEN not in f"{raised.value!r} {vars(raised.value)}"
    error: BaseException | None = raised.value
    while error is not None:  # an error of httpx holds the request, and its headers
        assert not hasattr(error, "_request")
        error = error.__cause__ or error.__context__
    assert TOKEN.encode() not in pickle.dumps(raised.value)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(["errors", "detail", "email"])


@pytest.mark.slow
@given(st.integers(300, 599), JSON | st.dictionaries(KEYS, JSON))
def test_failure_of_a_strange_answer_is_an_error(status: int, data: Any) -> None:
    import json

    from usercom_asgi.api.client import Response

    response = Response(status=status, body=json.dumps(data).encode(), is_complete=True)
    error = failure_of("GET", "/users/:id/", response, scrubber({"a": "x"}, hide=str))
    assert isinstance(error, DeliveryError)
    assert len(str(error)) < 1000
    assert str(error).isprintable()


@pytest.mark.parametrize("change", [str.upper, str.title])
def test_scrubber_hides_the_token_in_another_case(change: Callable[[str], str]) -> None:
    scrub = scrubber(hide=Token(TOKEN).hide)
    assert scrub(f"bad token {change(TOKEN)} given") == "bad token ... given"


async def test_failure_that_quotes_the_address_of_the_call_hides_its_values(
    rest: UserComRest, server: RestServer
) -> None:
    """Gateways answer with the path, in which the values are percent-encoded."""
    server.always(
        lambda request: Scripted(
            400,
            json.dumps({"path": f"{request.path}?{request.query}"}).encode(),
            {"content-type": "application/json"},
        )
    )
    for who in (Email("ada+x@shop.example"), CustomId("Zoë/7 @home")):
        with pytest.raises(BadRequestError) as raised:
            await rest.users.get(who)
        shown = f"{raised.value} {vars(raised.value)}"
        assert "/api/public/users" in shown
        assert not [each for each in ("ada", "shop.example", "Zo", "home") if each in shown]


async def test_failure_404_that_is_no_json_is_not_the_answer_that_no_user_was_found(
    rest: UserComRest, server: RestServer
) -> None:
    """A proxy without a route answers so; `forget` must not take it for "gone"."""
    server.answer(status=404, body=b"404 page not found", content_type="text/plain")
    with pytest.raises(UnexpectedResponseError) as raised:
        await rest.users.forget(52)
    assert "route" in str(raised.value)
