"""Questions that User.com's documentation leaves open, and how to answer them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .session import NAME, UnansweredError, as_objects

if TYPE_CHECKING:
    from .session import ProbeSession, Reply, Subject

Question = Callable[["ProbeSession"], Awaitable[str]]

_VIEWED = "https://usercom-asgi-probe.example.com/viewed"
_GENDERS = ("unknown", "male", "female", 1, 2, 3)


async def page_hit(session: ProbeSession) -> str:
    """Answer whether the app key is accepted, and what an unknown key gets."""
    status, key = await session.ping(None)
    accepted = f"A page hit answers `{status}` {'with' if key else 'without'} a user key."
    if key is None:
        return accepted
    unknown = session.new_key()
    status, named = await session.ping(unknown)
    got = "that key" if named == unknown else "a new key" if named else "no key"
    return f"{accepted} One with an unknown key answers `{status}` with {got}."


async def event_by_key(session: ProbeSession) -> str:
    """Answer whether an event takes the user key alone."""
    subject = await session.subject()
    body = {"name": NAME, "user_key": subject.known_key}
    session.has_events = True
    reply = await session.call("POST", "events/", body=body)
    answer = f"`user_key` alone: {reply}."
    if not reply.is_ok:
        reply = await session.call("POST", "events/", body={**body, "user_id": None})
        answer += f" With `user_id: null`: {reply}."
    if reply.is_ok:
        answer += f" The event {await _is_listed(session, subject, 'events')} the user's events."
    unknown = await session.call(
        "POST", "events/", body={"name": NAME, "user_key": session.new_key()}
    )
    return f"{answer} An unknown key: {unknown}."


async def site_view(session: ProbeSession) -> str:
    """Answer what a page view is answered with, and whether it counts."""
    subject = await session.subject()
    reply = await _view(session, subject.known_key)
    answer = f"{reply}."
    if reply.is_ok:
        answer += f" The view {await _is_listed(session, subject, 'ping_hits')} the user's views."
    return f"{answer} An unknown key: {await _view(session, session.new_key())}."


async def gender(session: ProbeSession) -> str:
    """Answer whether the word of a gender is accepted in a write."""
    subject = await session.subject()
    answers: list[str] = []
    for value in ("male", 3):
        reply = await _put(session, subject, {"gender": value})
        read = (await session.read(subject)).field("gender")
        shown = f"`{read!r}`" if read in _GENDERS else "another value"
        result = f"is read as {shown}" if reply.is_ok else f"is refused: {reply}"
        answers.append(f"`{value!r}` {result}.")
    return " ".join(answers)


async def null(session: ProbeSession) -> str:
    """Answer whether null clears a standard field and a custom attribute."""
    subject = await session.subject()
    answers = [f"A standard field (`city`): {await _cleared(session, subject, 'city')}."]
    name = session.new_attribute("c")
    body = {"name": name, "value_type": "string", "content_type": "clientuser"}
    defined = await session.call("POST", "attributes/", body=body)
    if not defined.is_ok:
        return f"{answers[0]} A custom attribute could not be defined: {defined}."
    read_as = defined.field("name_std")
    found = await _cleared(session, subject, name, read_as if isinstance(read_as, str) else name)
    return f"{answers[0]} A custom attribute: {found}."


async def unknown_attribute(session: ProbeSession) -> str:
    """Answer what becomes of a custom attribute that does not exist."""
    subject = await session.subject()
    first, second = session.new_attribute("a"), session.new_attribute("b")
    by_put = await _put(session, subject, {first: "x"})
    by_verb = await session.call(
        "POST",
        "users/:id/set_multiple_attributes/",
        parts={"id": subject.id},
        body={second: "x"},
    )
    answers: list[str] = []
    for call, name, reply in (("PUT", first, by_put), ("set_multiple_attributes", second, by_verb)):
        result = f"refused: {reply}"
        if reply.is_ok:
            result = f"`{reply.status}`, {await _fate(session, subject, name)}"
        answers.append(f"`{call}`: {result}.")
    return " ".join(answers)


async def merge(session: ProbeSession) -> str:
    """Answer what a merge does to the key of the other user."""
    parent, loser = await session.new_user("parent"), await session.new_user("other")
    body = {"parent": parent.id, "users_list": [loser.id]}
    reply = await session.call("POST", "users/merge/", body=body)
    if not reply.is_ok:
        raise UnansweredError(f"the merge is refused: {reply}")

    async def is_merged() -> bool:
        return not (await session.read(loser)).is_ok

    await session.eventually(is_merged)
    found = {
        "the other's key": await session.call(
            "GET", "users/search/", query={"key": loser.known_key}
        ),
        "the other's id": await session.read(loser),
        "the other's custom id": await session.call(
            "GET", "users-by-id/:custom_id/", parts={"custom_id": loser.custom_id}
        ),
        "the parent's key": await session.call(
            "GET", "users/search/", query={"key": parent.known_key}
        ),
    }
    names = {parent.id: "the parent", loser.id: "the other user"}
    ends = [
        f"{name} leads to {names.get(each.field('id'), 'another user')}"
        if each.is_ok
        else f"{name} is answered with {each}"
        for name, each in found.items()
    ]
    return f"The merge answers {reply}. Afterwards, {'; '.join(ends)}."


async def remove_verbs(session: ProbeSession) -> str:
    """Answer which verbs take a tag from a user, under both paths."""
    subject, tag = await session.subject(), await session.new_tag()
    parts: dict[str, str | int] = {"id": subject.id, "custom_id": subject.custom_id}
    answers: list[str] = []
    for path in ("users/:id/", "users-by-id/:custom_id/"):
        for method in ("DELETE", "POST"):
            await session.rest.users.add_tag(subject.id, tag)
            reply = await session.call(
                method, f"{path}remove_tag/", parts=parts, body={"name": tag}
            )
            result = str(reply)
            if reply.is_ok:

                async def is_gone() -> bool:
                    return not _has_tag(await session.read(subject), tag)

                done = await session.eventually(is_gone)
                result = f"`{reply.status}`, the tag is {'removed' if done else 'kept'}"
            answers.append(f"`{method} {path}remove_tag/`: {result}.")
    return " ".join(answers)


async def rate_limit(session: ProbeSession) -> str:
    """Answer which headers of a rate limit were seen; asked last."""
    seen = ", ".join(f"`{name}: {value}`" for name, value in session.limits.items())
    return (
        f"{f'Headers: {seen}' if seen else 'No header names one'}. Of {session.calls} calls, "
        f"{session.too_many} were answered with `429`."
    )


async def webhook(_: ProbeSession) -> str:
    """Answer nothing, as no call of the API shows a webhook."""
    raise UnansweredError("no call shows it: add an automation that calls a URL of your own")


#: Each question with the function that answers it, in their order.
QUESTIONS: tuple[tuple[str, Question], ...] = (
    ("Is the app key accepted, and what does an unknown user key get?", page_hit),
    ("Does an event take the user key alone?", event_by_key),
    ("What does `POST site-views/` answer?", site_view),
    ("Is a gender taken as a word?", gender),
    ("Does null clear a value?", null),
    ("What becomes of a custom attribute that does not exist?", unknown_attribute),
    ("What does a merge do to the other user's key?", merge),
    ("Which verbs remove a tag?", remove_verbs),
    ("Is there a rate limit?", rate_limit),
    ("What is the body of a webhook?", webhook),
)


async def _view(session: ProbeSession, key: str) -> Reply:
    body = {
        "client_user": key,
        "page_domain": _VIEWED,
        "page_path": "/viewed",
        "timestamp": datetime.now(UTC),
    }
    return await session.call("POST", "site-views/", body=body)


async def _put(session: ProbeSession, subject: Subject, body: dict[str, object]) -> Reply:
    return await session.call("PUT", "users/:id/", parts={"id": subject.id}, body=body)


async def _is_listed(session: ProbeSession, subject: Subject, rows: str) -> str:
    reply: Reply | None = None

    async def is_there() -> bool:
        nonlocal reply
        reply = await session.call("GET", f"users/:id/{rows}/", parts={"id": subject.id})
        return bool(reply.field("results"))

    if await session.eventually(is_there):
        return "is among"
    return "is not among" if reply is None or reply.is_ok else f"cannot be read ({reply}) from"


async def _cleared(
    session: ProbeSession, subject: Subject, name: str, read_as: str | None = None
) -> str:
    read_as = read_as or name

    async def has(*values: object) -> bool:
        async def check() -> bool:
            return (await session.read(subject)).field(read_as) in values

        return await session.eventually(check)

    written = await _put(session, subject, {name: "Probe"})
    if not written.is_ok or not await has("Probe"):
        return f"not known, as the value before it does not show ({written.status})"
    reply = await _put(session, subject, {name: None})
    if not reply.is_ok:
        return f"null is refused: {reply}"
    return f"`{reply.status}`, null {'clears' if await has(None, '') else 'does not clear'} it"


async def _fate(session: ProbeSession, subject: Subject, name: str) -> str:
    async def is_set() -> bool:
        return (await session.read(subject)).field(name) is not None

    is_on_user = await session.eventually(is_set)
    is_defined = False
    async for each in session.rest.attributes.list():
        is_defined |= name in (each.name, each.name_std)
    if is_on_user:
        return "created" if is_defined else "on the user, though not defined"
    return "defined, though not on the user" if is_defined else "ignored"


def _has_tag(reply: Reply, name: str) -> bool:
    return any(row.get("name") == name for row in as_objects(reply.field("tags")))
