"""JSON documents that came before: most are the same to the letter, or but for the values of one input.

What such a document says is remembered, as checking it costs more than all else that is done with the JSON of
a small request (benchmarks/gateway).
"""

import json
from dataclasses import replace
from typing import Any

import orjson

from headrace.errors import InvalidArgument
from headrace.transport.http.infer_document import InferDocument, read_document
from headrace.transport.limits import Limits

MAX_REMEMBERED = 1024
# Of a document without its values.
MAX_TEXT_BYTES = 2048
# Longer documents are not looked at for that: their values take the time.
MAX_LEARNT_BYTES = 64 * 1024
# Documents that begin in the same way, as those do in which the values come first.
MAX_ENDINGS = 8

_DATA = b'"data":'
_DECODER = json.JSONDecoder()


class KnownDocuments:
    """Reads documents, and remembers them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._whole: dict[bytes, InferDocument] = {}
        self._beginnings: dict[bytes, list[tuple[bytes, InferDocument]]] = {}

    def read_whole(self, text: bytes) -> InferDocument:
        """What `text` says, all of which may come again, as it does where binary data follows it."""
        document = self._whole.get(text)
        if document is None:
            document = read_document(text, self._limits)
            if len(text) <= MAX_TEXT_BYTES:
                if len(self._whole) >= MAX_REMEMBERED:
                    self._whole.clear()
                self._whole[text] = document
        return document

    def read_with_values(self, text: bytes) -> tuple[InferDocument, list[Any] | None]:
        """What `text` says, in which values may differ from time to time.

        Where it is known but for these, they come beside it, and hold instead of those of its only input.
        """
        if len(text) > self._limits.json_values:  # there may be too many, which only reading all of it tells
            return read_document(text, self._limits), None
        values_at = text.find(b"[", text.find(_DATA))
        beginning = text[:values_at]
        for ending, document in self._beginnings.get(beginning, ()):
            if text.endswith(ending):
                try:
                    return document, orjson.loads(text[values_at : len(text) - len(ending)])
                except orjson.JSONDecodeError:
                    continue
        document = read_document(text, self._limits)
        self._remember(text, beginning, document)
        return document, None

    def _remember(self, text: bytes, beginning: bytes, document: InferDocument) -> None:
        """Remembers what is around the values, where they are those of the only input."""
        if document.id or len(document.inputs) != 1 or not document.inputs[0].values:
            return
        if not 0 < len(beginning) <= MAX_TEXT_BYTES or len(text) > MAX_LEARNT_BYTES:
            return
        ending = _ending(text, len(beginning))
        emptied = self._emptied(beginning, ending, document)
        if emptied is None or len(ending) > MAX_TEXT_BYTES:
            return
        if len(self._beginnings) >= MAX_REMEMBERED:
            self._beginnings.clear()
        endings = self._beginnings.setdefault(beginning, [])
        if len(endings) >= MAX_ENDINGS:
            endings.clear()
        endings.append((ending, emptied))

    def _emptied(self, beginning: bytes, ending: bytes, document: InferDocument) -> InferDocument | None:
        """`document` without its values, where whatever list is between the two is these, and nothing else.

        It is not where it only looks like that: within a text, in something else that is called "data", or
        where "data" is given twice. An empty list there then leaves the input with values.
        """
        try:
            emptied = read_document(beginning + b"[]" + ending, self._limits)
        except InvalidArgument:
            return None
        expected = replace(document, inputs=[replace(document.inputs[0], values=[])])
        return emptied if emptied == expected else None


def _ending(text: bytes, values_at: int) -> bytes:
    """What of `text` is behind the list that begins at `values_at`; nothing where it is no list."""
    try:
        rest = text[values_at:].decode()
        _, end = _DECODER.raw_decode(rest)
    except (ValueError, RecursionError):
        return b""
    return rest[end:].encode()
