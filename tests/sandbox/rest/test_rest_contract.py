"""The sandbox against `docs/openapi/usercom-rest.yaml`, by schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usercom_asgi.sandbox import RunningSandbox, Sandbox, serve
from usercom_asgi.sandbox.rest import PATHS
from usercom_asgi.sandbox.store import Hit, RecordedEvent, RecordedProductEvent, Store
from usercom_asgi.sandbox.vendor import REST_TOKEN

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import APIOperation

CONTRACT = Path(__file__).parents[3] / "docs" / "openapi" / "usercom-rest.yaml"
HEADERS = {"Authorization": f"Token {REST_TOKEN}", "Accept": "*/*; version=2"}
OURS = sorted(f"{method} {path}" for path, handlers in PATHS.items() for method in handlers)
#: Ids that the sandbox has, so that not every call is answered with 404.
KNOWN: dict[str, Any] = {"id": 1, "custom_id": "c-1", "name_std": "plan"}
KNOWN_IN_BODIES: dict[str, Any] = {
    "user_id": 1,
    "user_custom_id": "c-1",
    "client_user": "k3v9x0q2m7ab",
    "company_id": 1,
    "company_custom_id": "c-1",
    "list": 1,
    "products": [1],
}


@pytest.fixture(scope="module")
def served() -> Iterator[RunningSandbox]:
    with serve(Sandbox(rest_creates_attributes=True)) as server:
        yield server


@pytest.fixture
def url(served: RunningSandbox) -> str:
    """The address of a sandbox with one record of each kind, under the ids of KNOWN."""
    store = served.sandbox.store = Store()
    user = store.create("k3v9x0q2m7ab")
    store.update(user, {"user_id": "c-1", "plan": "pro", "company": {"company_id": "c-1"}})
    store.companies[1].fields["name"] = "Acme"
    tag, contacts = store.tags.add(name="beta"), store.lists.add(name="News")
    user.tags, user.lists = [tag.id], [contacts.id]
    store.companies[1].tags = [tag.id]
    product = store.products.add(fields={"custom_id": "c-1", "name": "Mug", "price": 9.9})
    fields = {"custom_id": "c-1", "name": "Order", "value": 9.9}
    store.deals.add(fields=fields, user_id=user.id, company_id=1, product_ids=[product.id])
    store.segments.add(name="VIP", user_ids=[user.id])
    store.add_event(RecordedEvent(key=user.key, name="e", data={"a": 1}, domain="d", user_agent=""))
    store.product_events.append(
        RecordedProductEvent(key=user.key, product_id="c-1", event_type="view", data={})
    )
    view = "https://shop.example/"
    store.hits.append(
        Hit(
            key=user.key,
            url=view,
            domain="shop.example",
            referrer="",
            payload={},
            created_new_gu=False,
            from_widget=True,
            user_agent="",
        )
    )
    return f"{served.url}/api/public"


@pytest.fixture(scope="module")
def operations() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    """The contract's operations; only this loads schemathesis, which takes long."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs the group tests")
    results = schemathesis.openapi.from_path(CONTRACT).get_all_operations()
    return {each.ok().label: each.ok() for each in results}


@pytest.mark.slow
def test_contract_has_the_operations_of_the_sandbox(
    operations: dict[str, APIOperation[Any, Any, Any, Any]],
) -> None:
    assert sorted(operations) == OURS


@pytest.mark.slow
@pytest.mark.parametrize("label", OURS)
def test_sandbox_answers_as_the_contract_describes(
    url: str, operations: dict[str, APIOperation[Any, Any, Any, Any]], label: str
) -> None:
    from schemathesis import GenerationMode, checks

    # Not the checks of accepted and refused data: the sandbox is more lenient than the
    # contract, and refuses what JSON Schema cannot describe.
    wanted: list[Any] = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    operation = operations[label]
    strategies = [operation.as_strategy(GenerationMode.POSITIVE)]
    if operation.body:
        strategies.append(operation.as_strategy(GenerationMode.NEGATIVE))

    @settings(
        max_examples=5,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(strategies), is_known=st.booleans())
    def check(case: Case[Any], is_known: bool) -> None:
        case.path_parameters = {
            name: KNOWN[name] if is_known else value
            for name, value in (case.path_parameters or {}).items()
        }
        if is_known and isinstance(case.body, dict):
            names = KNOWN_IN_BODIES.keys() & case.body.keys()
            case.body.update({name: KNOWN_IN_BODIES[name] for name in names})
        case.call_and_validate(base_url=url, headers=HEADERS, checks=wanted)

    check()
