from __future__ import annotations

from usercom_asgi.core.receipts import PendingReceipt, Receipt, Status
from usercom_asgi.visitor.named_keys import MAX_ENTRIES, NamedKeys

ALICE, BOB = {"user_id": "alice"}, {"user_id": "bob"}


def named(key: str) -> Receipt:
    return Receipt(Status.DELIVERED, key=key)


def test_named_keys_of_another_identity_are_not_returned() -> None:
    keys = NamedKeys()
    keys.add(ALICE, named("alice1"))
    keys.add(ALICE, named("alice2"))
    keys.add(BOB, PendingReceipt())
    assert keys.newest_for(ALICE) == "alice2"
    assert keys.newest_for(BOB) is None
    assert keys.newest() == "alice2"


def test_named_keys_of_a_pending_command_count_once_it_is_delivered() -> None:
    keys, receipt = NamedKeys(), PendingReceipt()
    keys.add(ALICE, receipt)
    assert keys.newest() is None
    receipt.finish(Status.DELIVERED, key="alice1")
    assert keys.newest() == keys.newest_for(ALICE) == "alice1"


def test_named_keys_of_a_long_websocket_stay_few_and_known() -> None:
    """While User.com is down, nothing is answered, and what was known stays known."""
    keys = NamedKeys()
    keys.add(ALICE, named("alice1"))
    for _ in range(1000):
        keys.add(ALICE, named("alice2"))
    for _ in range(1000):
        keys.add(ALICE, PendingReceipt())
        keys.add(ALICE, Receipt(Status.DROPPED, "10000 commands wait already"))
    assert len(keys) <= 2 * MAX_ENTRIES
    assert keys.newest() == keys.newest_for(ALICE) == "alice2"
