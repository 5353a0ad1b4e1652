"""A job outside of requests, whose tests are beside it."""

from __future__ import annotations

from usercom_asgi import UserComClient, UserComConfig

CONFIG = UserComConfig(app="acme", api_key="ABC123")


async def send_renewals(user_ids: list[int]) -> int:
    async with UserComClient(CONFIG) as client:
        for user_id in user_ids:
            await client.visitor(user_id=user_id).event("renewed", plan="gold")
    return client.stats.delivered
