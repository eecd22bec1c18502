"""What is remembered of JSON documents never shows: each is read as if it were the first."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import HeadraceError
from headrace.transport.http import known_documents
from headrace.transport.http.infer_document import InferDocument, read_document
from headrace.transport.http.known_documents import (
    MAX_ENDINGS,
    MAX_LEARNT_BYTES,
    MAX_REMEMBERED,
    KnownDocuments,
)
from headrace.transport.limits import Limits

# Values of fields, and whole fields, that look like the values of an input to whoever does not look closely.
VALUES = [
    "[]",
    "[1]",
    "[1, 2]",
    "[[1],[2]]",
    '["a"]',
    '[{"data":[3]}]',
    "7",
    "null",
    "[1",
    '["]}"]',
    "[1],[2]",
]
TEXTS = ['"x"', r'"\"data\":[1]"', '"data"', r'"[\\"', '"é]"', r'"\"data\":["']
FIELDS = [
    *(f'"name":{text}' for text in TEXTS),
    *(f'"data":{value}' for value in VALUES),
    *(f'"data": {value}' for value in VALUES[:4]),
    *('"datatype":"FP32"', '"datatype":"BYTES"', '"shape":[1]', '"shape":[1,2]', '"other":{"data":[5]}'),
    *('"parameters":{"data":1}', '"parameters":{"binary_data_size":4}', '"data" :[1]', '"x":[1]'),
]
OUTER = [
    *('"id":""', '"id":"a"', r'"id":"\"data\":[1]"', '"parameters":{"data":[1]}', '"parameters":{"data":1}'),
    *('"outputs":[{"name":"y"}]', '"outputs":[{"name":"\\"data\\":["}]', '"data":[1]', '"x":{"data":[9]}'),
]

inputs = st.lists(st.sampled_from(FIELDS), max_size=6).map(lambda fields: "{" + ",".join(fields) + "}")
plain_inputs = st.sampled_from(VALUES).flatmap(
    lambda value: st.permutations(['"name":"x"', '"datatype":"FP32"', '"shape":[2]', f'"data":{value}']).map(
        lambda fields: "{" + ",".join(fields) + "}"
    )
)
documents = st.tuples(
    st.lists(st.sampled_from(OUTER), max_size=2),
    st.lists(plain_inputs | inputs, min_size=1, max_size=2),
    st.lists(st.sampled_from(OUTER), max_size=2),
).map(
    lambda parts: "{" + ",".join([*parts[0], f'"inputs":[{",".join(parts[1])}]', *parts[2]]) + "}",
)


def read_in_full(known: KnownDocuments, text: bytes) -> InferDocument:
    """The document, with the values in their place."""
    document, values = known.read_with_values(text)
    if values is None:
        return document
    (given,) = document.inputs
    return replace(document, inputs=[replace(given, values=values)])


def said(known: KnownDocuments | None, text: bytes, limits: Limits) -> InferDocument | str:
    """What is read in `text`, or why it is refused."""
    try:
        return read_in_full(known, text) if known else read_document(text, limits)
    except HeadraceError as error:
        return str(error)


@settings(max_examples=500, deadline=None)
@given(st.lists(documents, min_size=2, max_size=8))
def test_each_document_is_read_as_if_it_were_the_first(texts: list[str]) -> None:
    limits = Limits()
    known = KnownDocuments(limits)
    for text in texts * 2:
        assert said(known, text.encode(), limits) == said(None, text.encode(), limits)


def document(values: object, **fields: object) -> bytes:
    given = {"name": "x", "shape": [1], "datatype": "FP32", "data": values}
    return json.dumps({"inputs": [given], **fields}).encode()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The texts that were read from beginning to end."""
    read: list[bytes] = []

    def counting(text: bytes, limits: Limits) -> InferDocument:
        read.append(text)
        return read_document(text, limits)

    monkeypatch.setattr(known_documents, "read_document", counting)
    return read


def test_only_the_values_of_a_known_document_are_read(counted: list[bytes]) -> None:
    known = KnownDocuments(Limits())
    known.read_with_values(document([0.5]))
    counted.clear()
    for values in ([1, 2], [[3], [4]], ["a]}"], []):
        assert read_in_full(known, document(values)).inputs[0].values == values
    assert counted == []


def test_too_many_values_are_refused_in_a_known_document_too() -> None:
    known = KnownDocuments(Limits(json_values=100))
    known.read_with_values(document([1]))
    with pytest.raises(HeadraceError, match="at most 100 are allowed"):
        known.read_with_values(document([1] * 200))


def test_what_is_remembered_is_bounded(counted: list[bytes]) -> None:
    known = KnownDocuments(Limits())
    for number in range(MAX_REMEMBERED + 10):
        known.read_with_values(document([1]).replace(b'"x"', b'"x%d"' % number))
        known.read_whole(document([1]).replace(b'"x"', b'"x%d"' % number))
    for number in range(3 * MAX_ENDINGS):
        known.read_with_values(
            b'{"inputs":[{"data":[1],"name":"x%d","shape":[1],"datatype":"FP32"}]}' % number
        )
    assert len(known._whole) <= MAX_REMEMBERED
    assert len(known._beginnings) <= MAX_REMEMBERED
    assert all(len(endings) <= MAX_ENDINGS for endings in known._beginnings.values())


def test_values_are_not_kept_nor_long_documents(counted: list[bytes]) -> None:
    known = KnownDocuments(Limits())
    known.read_with_values(document([1.5] * 1000))
    for size in (MAX_LEARNT_BYTES, 2 * MAX_LEARNT_BYTES):
        known.read_with_values(document([1] * size).replace(b'"x"', b'"x%d"' % size))
    kept = [document for endings in known._beginnings.values() for _, document in endings]
    assert [each.inputs[0].values for each in kept] == [[]]


def test_what_python_cannot_nest_is_read_without_being_remembered() -> None:
    deep = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + b"[" * 1020 + b"1" + b"]" * 1020
    known = KnownDocuments(Limits())
    assert known.read_with_values(deep + b"}]}")[0].inputs[0].name == "x"
    assert not known._beginnings


def test_documents_with_ids_are_not_remembered_as_few_come_again(counted: list[bytes]) -> None:
    known = KnownDocuments(Limits())
    for _ in range(2):
        assert known.read_with_values(document([1], id="a"))[0].id == "a"
    assert len(counted) == 2
