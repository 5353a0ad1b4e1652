"""Events, page views, and the records of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from usercom_asgi.sandbox.rest import fields, paging, users
from usercom_asgi.sandbox.rest.call import empty, not_found, ok
from usercom_asgi.sandbox.rest.fields import Field, iso
from usercom_asgi.sandbox.store import Hit, RecordedEvent
from usercom_asgi.sandbox.vendor import REST_PREFIX

if TYPE_CHECKING:
    from starlette.responses import Response

    from usercom_asgi.sandbox.objects import Segment
    from usercom_asgi.sandbox.rest.call import Call
    from usercom_asgi.sandbox.store import User

_EVENT = {
    "name": Field(fields.text(blank=False), required=True),
    "timestamp": Field(fields.moment),
    "data": Field(fields.mapping),
}
_VIEW = {
    "client_user": Field(fields.text(64, blank=False), required=True),
    "page_domain": Field(fields.text(2_000, blank=False), required=True),
    "page_path": Field(fields.text(2_000), required=True),
    "timestamp": Field(fields.moment, required=True),
}


def create(call: Call) -> Response:
    """Record an event; `created` is whether it is the first of its name [D]."""
    given = fields.validate(call.body, _EVENT)
    if "custom_id" in call.params:
        user = users.find(call)
    else:
        owner = {name: users.OWNER[name] for name in ("user_id", "user_key")}
        user = users.named(call, fields.validate(call.body, owner))
    event = RecordedEvent(
        key=user.key,
        name=given["name"],
        data=given.get("data") or dict[str, Any](),
        domain="",
        user_agent=call.user_agent,
        at=fields.now_if_none(given.get("timestamp")),
    )
    event_id, is_new = call.store.add_event(event)
    return ok({"id": event_id, "created": is_new}, 201)


def view(call: Call) -> Response:
    """Record a page view of the user of a key [C rudder].

    The answer is not known: this one is empty, so that no client relies on it.
    """
    given = fields.validate(call.body, _VIEW)
    user = call.store.find(given["client_user"])
    if user is None:
        raise not_found()
    url = given["page_domain"]
    if "://" not in url:
        url = f"https://{url}{given['page_path']}"
    call.store.hits.append(
        Hit(
            key=user.key,
            url=url,
            domain=_host(url),
            referrer="",
            payload=dict(call.body),
            created_new_gu=False,
            from_widget=False,
            user_agent=call.user_agent,
            at=given["timestamp"],
        )
    )
    user.page_views += 1
    user.last_seen = max(user.last_seen, given["timestamp"])
    return empty(201)


def of_user(call: Call) -> Response:
    """List the events of a user."""
    user, store = users.find(call), call.store
    return paging.page(
        call,
        [
            {
                "id": number,
                "event": each.name,
                "event_id": store.event_id(each.name),
                "client": user.id,
                "timestamp": iso(each.at),
                "data": each.data,
            }
            for number, each in enumerate(store.events, 1)
            if each.key == user.key
        ],
    )


def product_events_of_user(call: Call) -> Response:
    """List the product events of a user."""
    user = users.find(call)
    return paging.page(
        call,
        [
            {
                "id": number,
                "client": user.id,
                "product": each.product_id,
                "timestamp": iso(each.at),
                "event_type": each.event_type,
                "custom_data": each.data.get("custom_data") or {},
            }
            for number, each in enumerate(call.store.product_events, 1)
            if each.key == user.key
        ],
    )


def hits_of_user(call: Call) -> Response:
    """List the page views of a user [C net]."""
    user = users.find(call)
    return paging.page(call, [_hit(user, number, each) for number, each in _views(call, user)])


def timeline(call: Call) -> Response:
    """List page views and events of a user by their time [C net]."""
    user = users.find(call)
    views = [(hit.at, "Page view", {"url": hit.url, "title": ""}) for _, hit in _views(call, user)]
    events = [
        (each.at, each.name, {"url": "", "title": each.name})
        for each in call.store.events
        if each.key == user.key
    ]
    return paging.page(
        call,
        [
            {"id": number, "datetime": iso(at), "name": name, "content": content}
            for number, (at, name, content) in enumerate(
                sorted(views + events, key=lambda each: each[0]), 1
            )
        ],
    )


def segments_of_user(call: Call) -> Response:
    """List the segments of a user."""
    user = users.find(call)
    return paging.page(
        call,
        [
            segment_row(call, each)
            for each in call.store.segments.values()
            if user.id in each.user_ids
        ],
    )


def emails_of_user(call: Call) -> Response:
    """List no emails, because the sandbox sends none."""
    users.find(call)
    return paging.page(call, [])


def segment_row(call: Call, segment: Segment) -> dict[str, Any]:
    """Return the short row of a segment [C net]."""
    return {
        "id": segment.id,
        "name": segment.name,
        "description": segment.description,
        "users": f"{call.origin}{REST_PREFIX}/segments/{segment.id}/users/",
    }


def _views(call: Call, user: User) -> list[tuple[int, Hit]]:
    return [
        (number, hit)
        for number, hit in enumerate(call.store.hits, 1)
        if hit.key == user.key and not hit.created_new_gu
    ]


def _hit(user: User, number: int, hit: Hit) -> dict[str, Any]:
    return {
        "id": number,
        "client": user.id,
        "ip_address": None,
        "user_agent": hit.user_agent,
        "browser_family": None,
        "browser_version": None,
        "os_type": None,
        "city": None,
        "country": None,
        "url": hit.url,
        "referer": hit.referrer or None,
        "timestamp": iso(hit.at),
        "extra_data": None,
        "timezone": _text(hit.payload.get("timezone")),
        "resolution": _text(hit.payload.get("resolution")),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # such as "https://["
        return ""
