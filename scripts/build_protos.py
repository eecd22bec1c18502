"""Generates server/headrace/pb/ from protos/: message classes in a descriptor pool of headrace's own."""

import re
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(protos: Path, package: Path) -> list[Path]:
    """Writes a *_pb2.py and a *_pb2.pyi for each .proto below `protos`; returns the files written.

    Generated code registers its descriptors in protobuf's default pool, where a second definition of
    `inference.ModelInferRequest` (tritonclient's, KServe's) is an error. Ours go to `headrace.pb.pool.POOL`.
    """
    sources = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    _remove_generated(package)
    _run_protoc(protos, package, sources)
    roots = sorted({source.split("/")[0] for source in sources})
    written = sorted(package.rglob("*_pb2.py*"))
    for path in written:
        path.write_text(_rehome(path.read_text(), roots))
    _make_packages(package)
    return written


def _run_protoc(protos: Path, package: Path, sources: list[str]) -> None:
    well_known = files("grpc_tools") / "_proto"
    arguments = [f"-I{protos}", f"-I{well_known}", f"--python_out={package}", f"--pyi_out={package}"]
    if protoc.main(["protoc", *arguments, *sources]) != 0:
        raise SystemExit("protoc failed: see its message above")


def _rehome(code: str, roots: list[str]) -> str:
    """The generated `code` with our pool instead of the default one, and imports inside our package."""
    ours = rf"^from ((?:{'|'.join(roots)})\b[\w.]*) import"
    code = re.sub(ours, r"from headrace.pb.\1 import", code, flags=re.M)
    code = code.replace("_descriptor_pool.Default()", "_POOL")
    return code.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool",
        "from headrace.pb.pool import POOL as _POOL",
    )


def _remove_generated(package: Path) -> None:
    for path in package.rglob("*_pb2.py*"):
        path.unlink()


def _make_packages(package: Path) -> None:
    for folder in {path.parent for path in package.rglob("*_pb2.py")}:
        while folder != package:
            (folder / "__init__.py").touch()
            folder = folder.parent


if __name__ == "__main__":
    for written_path in generate(ROOT / "protos", ROOT / "server" / "headrace" / "pb"):
        print(written_path.relative_to(ROOT), file=sys.stderr)
