"""What every transport tells callers of errors, and the table it looks methods up in."""

import ast
import logging
from pathlib import Path

import pytest

import headrace.transport.grpc
from headrace.errors import HeadraceError, Internal, NotFound
from headrace.settings import GrpcSettings
from headrace.transport.failures import to_error
from headrace.transport.grpc.calls import status_message
from headrace.transport.grpc.methods import build_methods
from headrace.transport.limits import DEFAULT_LIMITS


def test_our_errors_are_told_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    error = NotFound("x")

    assert to_error(error, "/a/b") is error
    assert caplog.records == []


def test_other_errors_are_logged_once_and_told_without_details(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = to_error(KeyError("/home/secret"), "/a/b")

    assert isinstance(error, Internal)
    assert "secret" not in str(error)
    (record,) = caplog.records
    assert record.exc_info


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ""),
        ("plain", "plain"),
        ("☺\n", "☺\n"),
        ("a\udce4b", "a?b"),
        ("x" * 2048, "x" * 2048),
        ("x" * 2049, "x" * 2045 + "…"),
        ("é" * 2000, "é" * 1022 + "…"),
    ],
)
def test_status_messages_are_valid_and_short(text: str, message: str) -> None:
    assert status_message(HeadraceError(text)) == message


def test_the_table_has_each_method_by_its_path() -> None:
    methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS)  # type: ignore[arg-type]

    assert all(path == method.path for path, method in methods.items())
    assert "/inference.GRPCInferenceService/ModelInfer" in methods
    assert "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" in methods


def test_only_one_file_knows_grpcio() -> None:
    folder = Path(headrace.transport.grpc.__file__).parent
    users = [
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "grpc" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grpc")
    ]

    assert set(users) == {"grpcio.py"}
