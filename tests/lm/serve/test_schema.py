"""The published description beside the server: what schemathesis makes of it, valid and not, is answered as it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from shoestring.lm.engines.load import load
from shoestring.lm.serve.guard import Access
from shoestring.lm.serve.requests import Limits
from shoestring.lm.serve.scheduler import Scheduler
from shoestring.lm.serve.schema.bodies import MOST_TOKENS
from shoestring.lm.serve.server import Server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [
    ("POST", "/v1/completions"), ("POST", "/v1/chat/completions"), ("POST", "/v1/choose"),
    ("GET", "/v1/models"), ("GET", "/v1/models/{name}"), ("GET", "/v1/templates"), ("GET", "/healthz"),
]  # fmt: skip


@pytest.fixture(scope="module")
def described(chat_folder):
    scheduler = Scheduler(load(chat_folder), Limits(batch=4, answer=8))
    application = Server(scheduler, Access(hosts=["testserver"])).application()
    yield schemathesis.openapi.from_asgi("/openapi.json", application)
    scheduler.close()


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if (method, mode) != ("GET", GenerationMode.NEGATIVE)  # there is nothing to get wrong
    ],
)
def test_answers_are_as_described(described, method, path, mode):
    strategy = described[path][method].as_strategy(generation_mode=mode)
    checks = CHECKS + ([negative_data_rejection] if mode is GenerationMode.NEGATIVE else [])

    @given(strategy)
    @settings(
        max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    def ask(case):
        for name in ("max_tokens", "max_completion_tokens"):  # what takes long is tested elsewhere
            given = case.body.get(name) if isinstance(case.body, dict) else None
            if isinstance(given, int) and 8 < given <= MOST_TOKENS:  # beyond that it is refused, or should be
                case.body[name] = 8
        case.call_and_validate(checks=checks)

    ask()
