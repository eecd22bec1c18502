"""Which endpoint a path means, and how an endpoint's answer, or its failure, reaches the caller."""

import asyncio
import logging
import tracemalloc
from typing import Any

import orjson
import pytest

from headrace.errors import HeadraceError, InvalidArgument, NotFound, Status, Unavailable
from headrace.transport.http import messages
from headrace.transport.http import routes as routes_module
from headrace.transport.http.messages import HttpError, HttpRequest, HttpResponse, error_response
from headrace.transport.http.routes import ControlRoute, InferenceRoute, Route, Routes
from support.answers import RecordedAnswer
from support.loops import run


def request_of(path: str, method: str = "GET", query: str = "") -> HttpRequest:
    return HttpRequest(method, path, query, {}, b"", 0)


def named(path: str, method: str = "GET") -> Route:
    """An endpoint that answers with its own path and what varies."""

    def handle(request: HttpRequest) -> HttpResponse:
        return HttpResponse([f"{path} {dict(request.params)}".encode()])

    return ControlRoute(method, path, handle)


MODEL = "/v2/models/{model}"
TABLE = Routes(
    [
        named("/v2"),
        named("/v2/"),
        named("/v2/models/stats"),
        named("/v2/repository/index", "POST"),
        named(MODEL),
        named(MODEL, "DELETE"),
        named(f"{MODEL}/stats"),
        named(f"{MODEL}/infer", "POST"),
        named(MODEL + "/versions/{version}"),
        named(MODEL + "/versions/{version}/infer", "POST"),
    ]
)


def ask(path: str, method: str = "GET", routes: Routes = TABLE) -> RecordedAnswer:
    answer = RecordedAnswer()
    routes.dispatch(request_of(path, method), answer)
    return answer


def refusal(answer: RecordedAnswer) -> tuple[int, str]:
    """The status and the text that the caller gets."""
    assert answer.responses == []
    (error,) = answer.errors
    response = error_response(error)
    return response.status, orjson.loads(response.body[0])["error"]


@pytest.mark.parametrize(
    ("path", "method", "text"),
    [
        ("/v2", "GET", "/v2 {}"),
        ("/v2/", "GET", "/v2/ {}"),
        ("/v2/models/stats", "GET", "/v2/models/stats {}"),
        ("/v2/models/digits", "GET", MODEL + " {'model': 'digits'}"),
        ("/v2/models/stats/stats", "GET", MODEL + "/stats {'model': 'stats'}"),
        ("/v2/models/stats/infer", "POST", MODEL + "/infer {'model': 'stats'}"),
        ("/v2/models/versions/versions/infer", "GET", MODEL + "/versions/{version} "),
        ("/v2/models/m/versions/3", "GET", MODEL + "/versions/{version} {'model': 'm', 'version': '3'}"),
        ("/v2/models/m/versions/3/infer", "POST", MODEL + "/versions/{version}/infer {'model': 'm', "),
    ],
)
def test_a_path_leads_to_its_endpoint(path, method, text):
    if path.endswith("versions/infer"):
        assert ask(path, method).text == text + "{'model': 'versions', 'version': 'infer'}"
    else:
        assert ask(path, method).text.startswith(text)


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_model_called_like_an_endpoint_is_reached_where_the_endpoint_leads_nowhere(method):
    paths = {"DELETE": "/v2/models/st%61ts", "POST": "/v2/models/stats/infer"}

    assert "'model': 'stats'" in ask(paths[method], method).text


def test_a_model_called_like_an_endpoint_is_reached_by_its_encoded_name():
    assert ask("/v2/models/%73tats").text == MODEL + " {'model': 'stats'}"


@pytest.mark.parametrize(
    ("segment", "model"),
    [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%C3%A9", "é"),
        ("%c3%a9", "é"),
        ("%2541", "%41"),
        ("%252F", "%2F"),
        ("a%2Fb", "a/b"),
        ("%2e%2e", ".."),
        ("..", ".."),
        ("%zz", "%zz"),
        ("%", "%"),
        ("%00", "\0"),
        ("{model}", "{model}"),
    ],
)
def test_percent_encoding_is_taken_off_once(segment, model):
    assert ask(f"/v2/models/{segment}").text == f"{MODEL} {{'model': {model!r}}}"
    assert ask(f"/v2/models/{segment}").text == f"{MODEL} {{'model': {model!r}}}"


@pytest.mark.parametrize("segment", ["%ff", "%C3", "%ed%a0%80", "a%80b"])
def test_a_path_that_is_not_utf_8_is_refused(segment):
    assert refusal(ask(f"/v2/models/{segment}")) == (400, "the path is not UTF-8")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "host:80",
        "/",
        "//",
        "/v1",
        "/V2",
        "/v2//",
        "//v2",
        "/v2/models",
        "/v2/models/",
        "/v2/models//stats",
        "/v2/models/m/",
        "/v2/models/m/versions",
        "/v2/models/m/versions/",
        "/v2/models/m/versions/1/other",
        "/v2/models/m/versions/1/infer/more",
        "/v2%2Fmodels/m",
        "/v2/models/m%2Fstats/other",
        "/v2/./models/m",
        "/{model}",
    ],
)
def test_other_paths_lead_nowhere(path):
    status, text = refusal(ask(path))

    assert status == 404
    assert text == f"there is nothing at {path}"


def test_a_long_path_that_leads_nowhere_is_not_sent_back_whole():
    _, text = refusal(ask("/" + "x" * 100_000))

    assert len(text) < 400


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/v2", "POST", "GET"),
        ("/v2/models/m", "PATCH", "DELETE, GET"),
        ("/v2/models/m/infer", "GET", "POST"),
        ("/v2/models/m/infer", "HEAD", "POST"),
        ("/v2/models/m/infer", "OPTIONS", "POST"),
    ],
)
def test_a_method_that_is_not_possible_is_refused_with_those_that_are(path, method, allowed):
    answer = ask(path, method)

    status, text = refusal(answer)
    assert status == 405
    assert text == f"{method} is not possible here: expected {allowed}"
    assert error_response(answer.errors[0]).headers == (("Allow", allowed),)


def test_head_is_answered_like_get():
    assert ask("/v2/models/m", "HEAD").text == ask("/v2/models/m").text


def test_a_path_stands_once_in_the_table():
    with pytest.raises(ValueError, match=r"POST /a/\{c\} stands twice"):
        Routes([named("/a/{b}", "POST"), named("/a/{c}", "POST")])


def test_many_paths_are_told_apart(monkeypatch):
    monkeypatch.setattr(routes_module, "MAX_REMEMBERED_PATHS", 8)

    for _ in range(2):
        for number in range(50):
            assert ask(f"/v2/models/{number}").text == f"{MODEL} {{'model': '{number}'}}"


def test_long_paths_fill_no_memory():
    routes = Routes([named(MODEL)])
    tracemalloc.start()
    try:
        for number in range(1000):
            ask(f"/v2/models/{number}{'x' * 30_000}", routes=routes)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < 10_000_000


def raising(error: Exception) -> Any:
    def handle(*_: object) -> HttpResponse:
        raise error

    return handle


@pytest.mark.parametrize("kind", [ControlRoute, InferenceRoute])
def test_an_exception_of_an_endpoint_is_told_without_its_text(caplog, kind):
    routes = Routes([kind("POST", "/a", raising(KeyError("/home/secret")))])

    with caplog.at_level(logging.ERROR):
        status, text = refusal(ask("/a", "POST", routes))

    assert status == 500
    assert "secret" not in text
    assert "secret" in caplog.text and "POST /a failed" in caplog.text


@pytest.mark.parametrize("kind", [ControlRoute, InferenceRoute])
@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound("x y"), 404), (InvalidArgument("x y"), 400), (Unavailable("x y"), 503)],
)
def test_an_error_of_ours_is_told_as_it_is(caplog, kind, error, status):
    routes = Routes([kind("POST", "/a", raising(error))])

    assert refusal(ask("/a", "POST", routes)) == (status, "x y")
    assert caplog.records == []


def test_an_endpoint_may_answer_later():
    kept: list[Any] = []
    routes = Routes([InferenceRoute("GET", "/a/{b}", lambda request, answer: kept.append((request, answer)))])

    answer = ask("/a/c", routes=routes)

    ((request, given),) = kept
    assert given is answer
    assert request.params == {"b": "c"}
    assert (answer.responses, answer.errors) == ([], [])


def test_an_endpoint_may_wait():
    async def main() -> None:
        go_on = asyncio.Event()

        async def handle(request: HttpRequest) -> HttpResponse:
            await go_on.wait()
            return HttpResponse([b"done"])

        routes = Routes([ControlRoute("GET", "/a", handle)])
        answer = ask("/a", routes=routes)
        await asyncio.sleep(0)
        assert answer.responses == []
        go_on.set()
        await routes.wait(5)
        assert answer.text == "done"

    run(main())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("/home/secret"), (500, "internal error: the server's log has the details")),
        (NotFound("no x"), (404, "no x")),
    ],
)
def test_an_endpoint_that_waits_may_fail(error, expected):
    async def main() -> None:
        async def handle(request: HttpRequest) -> HttpResponse:
            await asyncio.sleep(0)
            raise error

        routes = Routes([ControlRoute("GET", "/a", handle)])
        answer = ask("/a", routes=routes)
        await routes.wait(5)
        assert refusal(answer) == expected

    run(main())


def test_endpoints_that_still_wait_are_ended_in_time():
    async def main() -> None:
        ended = []

        async def handle(request: HttpRequest) -> HttpResponse:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(request.path)
            raise AssertionError

        routes = Routes([ControlRoute("GET", "/{a}", handle)])
        answers = [ask(f"/{number}", routes=routes) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.wait_for(routes.wait(0.01), 5)
        await asyncio.sleep(0)
        assert sorted(ended) == ["/0", "/1", "/2"]
        assert not any(answer.responses for answer in answers)
        await routes.wait(0)

    run(main())


def test_waiting_for_nothing_takes_no_time():
    run(TABLE.wait(60))


# Messages.


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("a=1&b=&c", {"a": "1", "b": "", "c": ""}),
        ("a=1&a=2", {"a": "2"}),
        ("a=%20+%2B", {"a": "  +"}),
        ("a=%ff", {"a": "\ufffd"}),
        ("a=b=c;d", {"a": "b=c;d"}),
    ],
)
def test_of_a_query_field_given_twice_the_last_counts(query, values):
    assert request_of("/", query=query).query_values() == values


@pytest.mark.parametrize(
    ("header", "media_type"),
    [(None, ""), ("", ""), ("Application/JSON; charset=utf-8", "application/json"), (" a/b ", "a/b")],
)
def test_a_media_type_has_no_parameters(header, media_type):
    headers = {} if header is None else {"content-type": header}

    assert HttpRequest("POST", "/", "", headers, b"", 0).media_type == media_type


def test_every_status_of_an_error_has_a_status_of_http():
    for status in Status:
        error = type("Error", (HeadraceError,), {"status": status})("x")
        assert 400 <= messages.http_status(error) < 600


def test_an_error_of_http_has_its_own_status_and_headers():
    response = error_response(HttpError(messages.HTTPStatus.LOCKED, "x", (("A", "b"),)))

    assert (response.status, response.headers) == (423, (("A", "b"),))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"error": "a\udce4"}, b'{"error":"a?"}'),
        ({"\udce4": ["\udce4", ("\udce4", 1)]}, b'{"?":["?",["?",1]]}'),
        ({"a": "é\n"}, '{"a":"é\\n"}'.encode()),
    ],
)
def test_json_is_written_whatever_the_text(value, text):
    assert messages.to_json(value) == text
