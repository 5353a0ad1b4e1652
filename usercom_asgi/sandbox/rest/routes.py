"""Paths of the REST API below `/api/public`, with the handler of each method.

The remove calls of users are `DELETE` under `/users/` and `POST` under `/users-by-id/`
[C net]. The other verb gets a 405 here; whether User.com takes it is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usercom_asgi.sandbox.rest import (
    companies,
    deals,
    definitions,
    events,
    products,
    user_search,
    user_verbs,
    users,
)
from usercom_asgi.sandbox.rest.companies import COMPANIES
from usercom_asgi.sandbox.rest.deals import DEALS
from usercom_asgi.sandbox.rest.products import PRODUCTS

if TYPE_CHECKING:
    from usercom_asgi.sandbox.rest.call import Handler


def _of_user(base: str, remove: str) -> dict[str, dict[str, Handler]]:
    return {
        f"{base}/": {
            "GET": users.get,
            "PUT": users.update,
            "PATCH": users.update,
            "DELETE": users.delete,
        },
        f"{base}/set_attribute/": {"POST": user_verbs.set_attribute},
        f"{base}/set_multiple_attributes/": {"POST": user_verbs.set_multiple_attributes},
        f"{base}/remove_attribute/": {remove: user_verbs.remove_attribute},
        f"{base}/add_tag/": {"POST": user_verbs.add_tag},
        f"{base}/add_many_tags/": {"POST": user_verbs.add_many_tags},
        f"{base}/remove_tag/": {remove: user_verbs.remove_tag},
        f"{base}/add_to_list/": {"POST": user_verbs.add_to_list},
        f"{base}/remove_from_list/": {remove: user_verbs.remove_from_list},
        f"{base}/product_events/": {"GET": events.product_events_of_user},
        f"{base}/ping_hits/": {"GET": events.hits_of_user},
        f"{base}/timeline/": {"GET": events.timeline},
        f"{base}/segments/": {"GET": events.segments_of_user},
        f"{base}/emails/": {"GET": events.emails_of_user},
    }


def _of_company(base: str) -> dict[str, dict[str, Handler]]:
    return {
        f"{base}/": {
            "GET": COMPANIES.get,
            "PUT": COMPANIES.update,
            "DELETE": companies.delete,
        },
        f"{base}/set_attribute/": {"POST": COMPANIES.set_attribute},
        f"{base}/set_multiple_attributes/": {"POST": COMPANIES.set_multiple_attributes},
        f"{base}/add_member/": {"POST": companies.add_member},
        f"{base}/remove_member/": {"POST": companies.remove_member},
        f"{base}/add_tag/": {"POST": companies.add_tag},
        f"{base}/remove_tag/": {"DELETE": companies.remove_tag},
    }


def _of_product(base: str) -> dict[str, dict[str, Handler]]:
    return {
        f"{base}/": {"GET": PRODUCTS.get, "PUT": PRODUCTS.update, "DELETE": PRODUCTS.delete},
        f"{base}/details/": {"GET": PRODUCTS.get},
        f"{base}/product_event/": {"POST": products.create_event},
    }


def _of_deal(base: str) -> dict[str, dict[str, Handler]]:
    return {f"{base}/": {"GET": DEALS.get, "PUT": DEALS.update, "DELETE": DEALS.delete}}


# Fixed paths come before those with an id, which would match them as well.
PATHS: dict[str, dict[str, Handler]] = {
    "/users/": {"GET": users.list_all, "POST": users.create},
    "/users/search/": {"GET": user_search.search},
    "/users/update_or_create/": {"POST": users.update_or_create},
    "/users/merge/": {"POST": user_verbs.merge},
    "/users/mass_update_custom_attributes/": {"PUT": user_verbs.mass_update},
    "/users/mass_update_standard_attributes/": {"PUT": user_verbs.mass_update},
    "/users-by-id/search/": {"GET": user_search.search_by_custom_id},
    "/users-by-id/mass_update_custom_attributes/": {"PUT": user_verbs.mass_update},
    "/users-by-id/mass_update_standard_attributes/": {"PUT": user_verbs.mass_update},
    **_of_user("/users/{id}", "DELETE"),
    **_of_user("/users-by-id/{custom_id}", "POST"),
    "/users/{id}/events/": {"GET": events.of_user},
    "/users-by-id/{custom_id}/events/": {"GET": events.of_user, "POST": events.create},
    "/events/": {"POST": events.create},
    "/site-views/": {"POST": events.view},
    "/products/": {"GET": PRODUCTS.list_all, "POST": PRODUCTS.create},
    **_of_product("/products/{id}"),
    **_of_product("/products-by-id/{custom_id}"),
    "/companies/": {"GET": COMPANIES.list_all, "POST": COMPANIES.create},
    **_of_company("/companies/{id}"),
    **_of_company("/companies-by-id/{custom_id}"),
    "/deals/": {"GET": deals.list_all, "POST": DEALS.create},
    "/deals/update_or_create/": {"POST": DEALS.update_or_create},
    **_of_deal("/deals/{id}"),
    **_of_deal("/deals-by-id/{custom_id}"),
    "/attributes/": {"GET": definitions.list_attributes, "POST": definitions.create_attribute},
    "/attributes/{id}/": {
        "GET": definitions.get_attribute,
        "DELETE": definitions.delete_attribute,
    },
    "/attribute-type/{name_std}/users/": {"GET": definitions.users_with_attribute},
    "/attribute-type/{name_std}/companies/": {"GET": definitions.companies_with_attribute},
    "/tags/": {"GET": definitions.list_tags, "POST": definitions.create_tag},
    "/tags/{id}/": {"PUT": definitions.update_tag, "DELETE": definitions.delete_tag},
    "/tags/{id}/users/": {"GET": definitions.users_of_tag},
    "/tags/{id}/companies/": {"GET": definitions.companies_of_tag},
    "/lists/": {"GET": definitions.list_lists, "POST": definitions.create_list},
    "/lists/{id}/": {"PUT": definitions.update_list, "DELETE": definitions.delete_list},
    "/segments/": {"GET": definitions.list_segments},
    "/segments/{id}/users/": {"GET": definitions.users_of_segment},
}
"""Handlers by method, by path."""
