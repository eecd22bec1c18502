"""The description of the HTTP endpoints, held against the server by schemathesis, and its page."""

import json
import urllib.error
import urllib.request

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

MODELS = ("labelled", "sums", "identity_bytes", "identity_int8", "optional", "variable")
# No schema can say that a tensor's data has as many elements as its shape means, that a CSV has the right
# values, that a text is a model's configuration, or that shares add up to 100.
BEYOND_SCHEMAS = ("/infer", "/v1/predict/", ":predict", "/load", "/route", "/rollout")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def server(serve):
    return serve(*MODELS, arguments=("--model-control-mode=explicit", "--load-model=*"))


@pytest.fixture(scope="module")
def description(server):
    with urllib.request.urlopen(f"http://{server.http_url}/openapi.json") as answer:
        return json.load(answer)


def test_every_ready_model_is_described_by_its_own_tensors(description):
    assert description["openapi"].startswith("3.1")
    paths = description["paths"]
    for name in MODELS:
        assert {f"/v2/models/{name}/infer", f"/v1/predict/{name}", f"/v1/models/{name}:predict"} <= set(paths)
    assert description["components"]["schemas"]["Model"]["enum"] == sorted(MODELS)


def test_the_examples_of_the_description_are_answered(server, description):
    tried = 0
    for path, operations in description["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                status, answer = post(server, path, content["example"])
                assert status == 200, (path, answer)
                tried += 1
    assert tried == 3 * len(MODELS)


def test_the_server_does_what_its_description_says(server):
    """Each operation with data as described and with data that is not; neither may surprise it."""
    url = f"http://{server.http_url}"
    operations = [
        found.ok() for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()
    ]
    assert len(operations) > 3 * len(MODELS)
    for operation in operations:
        try_operation(operation, url)


def try_operation(operation, url):
    checks = (
        CHECKS
        if any(part in operation.path for part in BEYOND_SCHEMAS)
        else [*CHECKS, positive_data_acceptance]
    )

    @given(case=operation.as_strategy())
    @settings(
        max_examples=5,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def try_it(case):
        case.call_and_validate(base_url=url, checks=checks)

    try_it()


def post(server, path, document):
    request = urllib.request.Request(
        f"http://{server.http_url}{path}",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_page_loads_from_this_server_alone(server):
    url = f"http://{server.http_url}"
    with urllib.request.urlopen(f"{url}/docs") as answer:
        page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in page.replace("http-equiv", "")
    for file in ("docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/docs.js"):
        assert file in page
        with urllib.request.urlopen(f"{url}/{file}") as answer:
            assert answer.read()


def test_the_description_can_be_left_out(serve):
    server = serve("sums", arguments=("--http-docs=false",))
    for path in ("/docs", "/openapi.json"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{server.http_url}{path}")
        assert refused.value.code == 404
        refused.value.close()
