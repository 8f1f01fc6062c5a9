"""Who may ask: foreign pages and rebound names are refused, keys are asked for, CORS is off unless asked for.

Attacks as they are described for servers on localhost: DNS rebinding (a foreign name in Host) and a page that
posts (Origin).
"""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from shoestring.lm.serve.guard import Access, Guard


def client(**access):
    async def answer(request):
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/v1/x", answer, methods=["GET", "POST"]), Route("/healthz", answer)])
    return TestClient(Guard(app, Access(**access)), base_url="http://localhost:8000")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "192.168.1.5:8000"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8000"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
def test_hosts_and_origins(headers, status):
    answer = client().post("/v1/x", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["type"] == "permission_error"
    assert "access-control-allow-origin" not in answer.headers


def test_names_can_be_allowed():
    assert client(hosts=["Box.lan:80"]).get("/v1/x", headers={"Host": "box.lan:80"}).status_code == 200


def test_cors_is_answered_for_allowed_origins_alone():
    allowed = client(origins=["https://app.example"])
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    right = allowed.options("/v1/x", headers={"Origin": "https://app.example", **asks})
    assert (right.status_code, right.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert allowed.options("/v1/x", headers={"Origin": "https://evil.example", **asks}).status_code == 403
    assert client().options("/v1/x", headers={"Origin": "https://app.example", **asks}).status_code == 403
    keyed = client(origins=["https://app.example"], api_key="k")
    refused = keyed.post("/v1/x", headers={"Origin": "https://app.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
        401,
        "https://app.example",
    )
    everyone = client(origins=["*"]).post("/v1/x", headers={"Origin": "https://any.example"})
    assert everyone.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer secret", 200),
        ("bearer secret", 200),
        ("Bearer wrong", 401),
        ("secret", 401),
        ("Bearer ü", 401),
        ("", 401),
    ],
)
def test_a_key(header, status):
    asked = client(api_key="secret")
    headers = {"Authorization": header.encode(), "Host": "any.example"}
    answer = asked.get("/v1/x", headers=headers)
    assert answer.status_code == status
    assert asked.get("/healthz").status_code == 200
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"
