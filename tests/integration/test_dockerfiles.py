"""The Dockerfiles without a container engine: what they say, and the CPU image's steps in an empty folder."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import tritonclient.grpc as triton

from support.server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")
UNPRIVILEGED = 12345
NO_NETWORK = ("NewConnectionError", "Temporary failure in name resolution", "(from versions: none)")

Completed: TypeAlias = "subprocess.CompletedProcess[str]"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a Dockerfile, continuation lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: of a JSON array its elements, otherwise split as a shell does."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)


Stage = list[Instruction]


@dataclass(frozen=True, slots=True)
class Image:
    """The CPU image's files, below `folder` instead of below /."""

    folder: Path
    stage: Stage
    uid: int | None

    def place(self, text: str) -> str:
        """`text` with the image's paths as paths of this machine."""
        for path in ("/wheels", "/opt/headrace", "/state", "/models"):
            text = text.replace(path, f"{self.folder}{path}")
        return text

    @property
    def environment(self) -> dict[str, str]:
        pairs = [word.split("=", 1) for each in _all(self.stage, "ENV") for word in each.words]
        placed = {name: self.place(value) for name, value in pairs}
        return {**placed, "PATH": placed["PATH"].replace("$PATH", os.environ["PATH"])}

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> Completed:
        """Runs a command as the image's user would."""
        return subprocess.run(
            [self.place(word) for word in words],
            env={**self.environment, **(environment or {})},
            cwd=tempfile.gettempdir(),
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else (),
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(params=DOCKERFILES)
def stages(request: pytest.FixtureRequest) -> list[Stage]:
    return _stages(ROOT / request.param)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """What `docker build -f Dockerfile.cpu` would make, from the same files and by the same commands."""
    python = _python()
    folder = Path(tempfile.mkdtemp(prefix="headrace-image-"))
    try:
        folder.chmod(0o755)
        build, final = _stages(ROOT / "Dockerfile.cpu")
        image = Image(folder, final, UNPRIVILEGED if os.geteuid() == 0 else None)
        source = folder / "src"
        for instruction in _all(build, "COPY"):
            _copy(instruction, source)
        for instruction in _all(build, "RUN"):
            _run_step(image.place(instruction.text), source, python)
        for instruction in _all(final, "RUN"):
            _run_step(image.place(instruction.text), source, python)
        shutil.copy(ROOT / "deploy" / "healthcheck.py", folder / "opt" / "headrace")
        shutil.copytree(ROOT / "model_repository", folder / "models")
        subprocess.run(["chmod", "-R", "a=rX", str(folder / "models")], check=True)
        yield image
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        shutil.rmtree(folder)


def test_everything_that_is_copied_exists_and_reaches_the_build(stages: list[Stage]) -> None:
    sources = [source for stage in stages for each in _all(stage, "COPY") for source in _sources(each)]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not _is_ignored(ROOT / source), source


def test_what_the_build_makes_is_not_sent_to_it() -> None:
    package = ROOT / "server" / "headrace" / "pb"

    assert not _is_ignored(package / "pool.py")
    assert _is_ignored(package / "inference" / "grpc_service_pb2.py")
    assert _is_ignored(ROOT / "server" / "headrace" / "core" / "__pycache__" / "tensor.cpython-311.pyc")
    assert _is_ignored(ROOT / ".venv" / "bin" / "python")


def test_image_serves_as_a_user_without_privileges_and_stops_on_sigterm(stages: list[Stage]) -> None:
    final = stages[-1]
    user = _last(final, "USER").text
    serve = [*_last(final, "ENTRYPOINT").words, *_last(final, "CMD").words]

    assert len(stages) == 2
    assert all(part.isdecimal() and int(part) > 0 for part in user.split(":")), user
    assert _last(final, "STOPSIGNAL").text == "SIGTERM"
    assert _last(final, "EXPOSE").words == ["8000", "8001", "8002"]
    assert serve[:2] == ["headrace", "serve"]
    assert serve[serve.index("--model-repository") + 1] == "/models"
    assert serve[serve.index("--grpc-address") + 1] == "0.0.0.0"


def test_image_contains_nothing_that_only_the_build_needs(stages: list[Stage]) -> None:
    assert [each.words for each in _all(stages[-1], "COPY")] == [
        ["--from=build", "/opt/headrace", "/opt/headrace"],
        ["deploy/healthcheck.py", "/opt/headrace/healthcheck.py"],
    ]


@pytest.mark.slow
def test_cpu_image_knows_its_version(image: Image) -> None:
    version = image.run("/opt/headrace/bin/headrace", "version", "--json")

    assert version.returncode == 0, version.stderr
    assert json.loads(version.stdout)["onnxruntime"]


@pytest.mark.slow
def test_cpu_image_serves_a_read_only_repository_under_any_user_id(image: Image) -> None:
    health = _health_command(image)
    command = (image.place("/opt/headrace/bin/headrace"),)
    models = Path(image.place("/models"))
    with ServerProcess(models, environment=image.environment, command=command, uid=image.uid) as server:
        port = {"HEADRACE_GRPC_PORT": str(server.grpc_port)}
        label = _digit(server.grpc_url)
        while_serving = image.run(*health, environment=port)
        status = server.terminate()
        after_stop = image.run(*health, environment=port)

    assert label == 0
    assert while_serving.returncode == 0, while_serving.stderr
    assert status == 0
    assert after_stop.returncode == 1
    assert "no answer from 127.0.0.1" in after_stop.stderr
    assert not _written_outside_of_state(image)


def _digit(url: str) -> int:
    """The label of the first example, which is a 0."""
    example = json.loads((ROOT / "model_repository" / "digits" / "examples" / "one.json").read_bytes())
    tensor = example["inputs"][0]
    given = triton.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
    given.set_data_from_numpy(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
    with triton.InferenceServerClient(url) as client:
        return int(client.infer("digits", [given]).as_numpy("label")[0, 0])


def _health_command(image: Image) -> list[str]:
    _, _, command = _last(image.stage, "HEALTHCHECK").text.partition("CMD ")
    return [str(word) for word in json.loads(command)]


def _written_outside_of_state(image: Image) -> list[Path]:
    if image.uid is None:
        return []
    state = image.folder / "state"
    found = [path for path in image.folder.rglob("*") if path.lstat().st_uid == image.uid]
    return [path for path in found if not path.is_relative_to(state)]


def _stages(path: Path) -> list[Stage]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    instructions = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.strip().partition(" ")
        if name:
            instructions.append(Instruction(name, " ".join(text.split())))
    starts = [at for at, each in enumerate(instructions) if each.name == "FROM"]
    return [instructions[start + 1 : end] for start, end in zip(starts, [*starts[1:], None])]


def _all(stage: Stage, name: str) -> Stage:
    return [instruction for instruction in stage if instruction.name == name]


def _last(stage: Stage, name: str) -> Instruction:
    return _all(stage, name)[-1]


def _sources(copy: Instruction) -> list[str]:
    return [] if copy.text.startswith("--from") else copy.words[:-1]


def _copy(copy: Instruction, folder: Path) -> None:
    """As COPY does: of a folder its contents, of files the files themselves."""
    target = folder / copy.words[-1]
    for source in _sources(copy):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=_ignored_among, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)


def _ignored_among(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if _is_ignored(Path(folder) / name)]


def _is_ignored(path: Path) -> bool:
    """As Docker reads .dockerignore: the last line counts that names the path or a folder above it."""
    relative = path.relative_to(ROOT)
    above = [str(each) for each in (relative, *relative.parents)]
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if pattern and any(_pattern(pattern).fullmatch(each) for each in above):
            is_ignored = not line.startswith("!")
    return is_ignored


def _pattern(text: str) -> re.Pattern[str]:
    """`*` stays within a folder's name, `**/` stands for any folders."""
    escaped = re.escape(text).replace(re.escape("**/"), "(?:.*/)?").replace(re.escape("*"), "[^/]*")
    return re.compile(escaped)


def _run_step(text: str, folder: Path, python: str) -> None:
    words = [word for word in shlex.split(text) if not word.startswith("--mount=")]
    step = subprocess.run(
        words, cwd=folder, env={**os.environ, "PYTHON": python}, capture_output=True, text=True, timeout=300
    )
    if step.returncode and any(sign in step.stderr for sign in NO_NETWORK):
        pytest.skip(f"pip cannot reach its registry: {step.stderr.strip().splitlines()[-1]}")
    assert step.returncode == 0, step.stderr


def _python() -> str:
    """An interpreter with pip that every user may run, of this one's version, for which the wheels are."""
    for candidate in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        path = Path(candidate).resolve()
        if path.exists() and _may_all_enter(path) and _has_pip(str(path)):
            return str(path)
    if os.geteuid() != 0:
        return sys.executable
    pytest.skip("no Python with pip of this version that other users than root may run")


def _may_all_enter(path: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents))


def _has_pip(python: str) -> bool:
    expected = f"{sys.version_info.major}.{sys.version_info.minor}"
    code = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return found.stdout.strip() == expected
