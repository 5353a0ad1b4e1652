"""Types of parameters for FastAPI."""

from __future__ import annotations

import subprocess
import sys

from fastapi import FastAPI
from helpers.fake_usercom import CONFIG
from starlette.testclient import TestClient

from usercom_asgi import UserComMiddleware
from usercom_asgi.fastapi import CurrentDelivery, CurrentVisitor

app = FastAPI()
app.add_middleware(UserComMiddleware, config=CONFIG)


@app.get("/key")
async def key(visitor: CurrentVisitor) -> str | None:
    return visitor.key


@app.get("/thread")
def thread(visitor: CurrentVisitor) -> bool:
    return visitor.sync.event("renewed") is not None


@app.get("/ready")
async def ready(delivery: CurrentDelivery) -> str:
    return delivery.readiness().state


def test_current_visitor_of_a_handler_is_the_visitor_of_the_request() -> None:
    client = TestClient(app, cookies={"__ca__chat": "abcdef123456"})
    assert client.get("/key").json() == "abcdef123456"
    assert TestClient(app).get("/thread").json() is True


def test_current_delivery_of_a_handler_is_that_of_the_process() -> None:
    assert TestClient(app).get("/ready").json() == "inline"


def test_current_visitor_adds_no_parameter_to_the_schema() -> None:
    paths = app.openapi()["paths"]
    assert "parameters" not in paths["/key"]["get"]


def test_package_import_does_not_load_fastapi() -> None:
    code = "import sys, usercom_asgi; sys.exit('fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
