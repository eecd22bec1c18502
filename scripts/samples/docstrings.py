"""Reads the text that `text_topics` learns from: paragraphs of the Python standard library's docstrings.

The sources are parsed, never imported, so nothing runs; only three modules written in C have no source, and
their docstrings are read from the live module.
"""

import ast
import cmath
import math
import re
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from inspect import cleandoc
from pathlib import Path
from types import ModuleType

MODULES = {
    "concurrency": "asyncio threading concurrent multiprocessing queue sched _threading_local subprocess",
    "dates": "datetime _pydatetime calendar _strptime zoneinfo time",
    "files": "os posixpath ntpath genericpath pathlib shutil tempfile glob fnmatch zipfile tarfile gzip bz2"
    " lzma _pyio filecmp fileinput mailbox shelve dbm",
    "networking": "socket ssl http urllib ftplib smtplib imaplib poplib xmlrpc socketserver selectors wsgiref"
    " ipaddress",
    "numbers": "statistics fractions _pydecimal random numbers colorsys bisect heapq math cmath",
    "testing": "unittest doctest pdb bdb trace traceback profile cProfile timeit logging warnings",
    "text": "re string textwrap difflib html json csv codecs gettext locale configparser tokenize email"
    " stringprep shlex",
}
"""The modules of each topic, by their names. A name that this Python lacks is passed over."""

WRITTEN_IN_C: dict[str, ModuleType] = {"math": math, "cmath": cmath, "time": time}
SENTENCES = re.compile(r"[A-Z][ -~]*\.")
"""From a capital letter to a full stop, in printable ASCII."""

FEWEST_WORDS = 4
LONGEST = 400  # characters
HELDOUT_OUT_OF = 5


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of the docstring of `place` ("module:name") in a top-level module of a topic."""

    text: str
    topic: str
    module: str
    place: str

    @property
    def is_heldout(self) -> bool:
        """Whether it belongs to the held-out fifth: whole docstrings, picked by a hash of their place.

        So a docstring stays on its side in every Python, whatever else changes in the library.
        """
        return int(sha256(self.place.encode()).hexdigest(), 16) % HELDOUT_OUT_OF == 0


def paragraphs() -> list[Paragraph]:
    """Every paragraph that reads as plain text, once, in the order of topics, modules and lines."""
    unique: dict[str, Paragraph] = {}
    for topic, names in MODULES.items():
        for module in names.split():
            for place, docstring in _docstrings(module):
                for text in _plain_texts(docstring):
                    unique.setdefault(text, Paragraph(text, topic, module, place))
    return list(unique.values())


def _docstrings(module: str) -> Iterator[tuple[str, str]]:
    """Each docstring of a module or package, with its place."""
    if module in WRITTEN_IN_C:
        yield from _docstrings_of_live(module, WRITTEN_IN_C[module])
        return
    library = Path(sysconfig.get_path("stdlib"))
    for path in _sources(library / module):
        source = path.relative_to(library).with_suffix("").as_posix()
        yield from _docstrings_in(source, ast.parse(path.read_text(encoding="utf-8")))


def _docstrings_of_live(module: str, live: ModuleType) -> Iterator[tuple[str, str]]:
    for name, member in sorted(vars(live).items()):
        if callable(member) and member.__doc__:
            yield f"{module}:{name}", cleandoc(member.__doc__)


def _docstrings_in(scope: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        name = getattr(node, "name", "")
        scope = f"{scope}:{name}" if name else scope
        docstring = ast.get_docstring(node)
        if docstring:
            yield scope, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler):
            yield from _docstrings_in(scope, child)


def _sources(module: Path) -> list[Path]:
    if not module.is_dir():
        return [path for path in [module.with_suffix(".py")] if path.exists()]
    return sorted(path for path in module.rglob("*.py") if not _is_test(path.relative_to(module)))


def _is_test(path: Path) -> bool:
    return not {"test", "tests"}.isdisjoint(path.parts)


def _plain_texts(docstring: str) -> Iterator[str]:
    """Its paragraphs of whole sentences, on one line each: no signatures, lists or doctests."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        text = " ".join(paragraph.split())
        if SENTENCES.fullmatch(text) and len(text) <= LONGEST and len(text.split()) >= FEWEST_WORDS:
            yield text
