"""The model repository: what it holds, and one version of a model read, completed and checked."""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import ConfigError, NotFound
from headrace.repository.completion.complete import Settings, complete, read_settings
from headrace.repository.config import DEFAULT_MAX_BATCH_SIZE, ModelConfig, Serving
from headrace.repository.files.disk import DiskFolder
from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.folder import EntryKind, FileRefused, Folder
from headrace.repository.files.manifest import check_manifest
from headrace.repository.files.memory import MemoryFolder
from headrace.repository.files.names import is_model_name, version_number
from headrace.repository.files.scan import Scan, scan_folder
from headrace.repository.golden.files import FOLDER as GOLDEN_FOLDER
from headrace.repository.golden.files import GoldenFiles, read_files
from headrace.repository.golden.reader import SWITCH, read_requests
from headrace.repository.golden.request import GoldenRequest
from headrace.repository.graph.onnx_model import OnnxModel
from headrace.repository.graph.reading import read_graph
from headrace.repository.override import Override
from headrace.repository.problems import Findings, InvalidModel, shown
from headrace.repository.text.config_file import ConfigFile, parse_json_config, read_config_file
from headrace.repository.version_policy import select

_NOTHING = Override()


@dataclass(frozen=True, slots=True)
class VersionSource:
    """Everything there is to load of one version, in memory and checked.

    `sha256` has the digests of the model's files by their path in the version's folder, `warmup_data` the
    contents of the warm-up files by `WarmupInput.file`. `golden` is what has to be answered as expected
    before the version serves. `notes` are remarks for the operator.
    """

    name: str
    version: int
    config: ModelConfig
    model: OnnxModel
    sha256: Mapping[str, str]
    fingerprint: Fingerprint = ()
    warmup_data: Mapping[str, bytes] = field(default_factory=dict)
    golden: tuple[GoldenRequest, ...] = ()
    notes: tuple[str, ...] = ()


class Repository:
    """The folder `path` of models; every method blocks, so call it from a thread."""

    def __init__(
        self,
        path: Path,
        *,
        default_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
        ready_marker: str | None = None,
        require_manifest: bool = False,
        require_golden: bool = False,
    ) -> None:
        self.path = path
        self._default_max_batch_size = default_max_batch_size
        self._ready_marker = ready_marker
        self._require_manifest = require_manifest
        self._require_golden = require_golden

    def scan(self) -> Scan:
        """What is there now; ConfigError where the repository itself cannot be read."""
        with self._open() as repository:
            return scan_folder(repository, self._ready_marker)

    def read_serving(self, name: str, override: Override = _NOTHING) -> Serving:
        """What the model's configuration says of its versions; NotFound, or ConfigError where it is wrong."""
        with self._open_model(name, override) as folder:
            return self._read_settings(name, folder, override)[0].serving

    def versions(
        self, name: str, override: Override = _NOTHING, also: Set[int] = frozenset()
    ) -> tuple[int, ...]:
        """The versions to serve: of those that are ready, what the policy selects, and `also`."""
        with self._open_model(name, override) as folder:
            policy = self._read_settings(name, folder, override)[0].serving.version_policy
            return select(policy, self._ready_versions(folder, override), also)

    def read(self, name: str, version: int, override: Override = _NOTHING) -> VersionSource:
        """One version, in full; NotFound, ConfigError or LoadError, with a message fit for operators."""
        with self._open_model(name, override) as folder:
            settings, findings = self._read_settings(name, folder, override, keep_problems=True)
            if version_number(str(version)) is None or str(version) not in folder.entries():
                raise NotFound(f"model {name!r} has no version {version} in the repository")
            with folder.enter(str(version)) as version_folder:
                before = version_folder.fingerprint()
                model = _read_graph(version_folder, settings, findings)
                golden = self._read_golden(version_folder, settings, findings)
                marker = frozenset({self._ready_marker} if self._ready_marker else ())
                check_manifest(
                    version_folder,
                    {**model.sha256, **golden.sha256},
                    is_required=self._require_manifest,
                    without=marker,
                )
                if version_folder.fingerprint() != before:
                    raise FileRefused(f"{version_folder.place} changed while it was read; try again")
            completed = complete(settings, model, folder, self._default_max_batch_size, findings)
        return VersionSource(
            name,
            version,
            completed.config,
            model,
            model.sha256,
            before,
            completed.warmup_data,
            read_requests(golden, completed.config),
            (*map(str, completed.notes), *golden.notes),
        )

    def _open(self) -> DiskFolder:
        try:
            return DiskFolder.open(self.path, "")
        except FileRefused as error:
            raise ConfigError(f"model repository {str(self.path)!r}{error}") from error

    @contextmanager
    def _open_model(self, name: str, override: Override) -> Iterator[Folder]:
        """The model's folder, on disk or in memory."""
        if not is_model_name(name):
            raise NotFound(f"{shown(name)} is not a model's name")
        if override.files:
            if not override.config:
                raise ConfigError(f"model {name!r}: files are given without a configuration; give both")
            with MemoryFolder(name, override.files) as folder:
                yield folder
            return
        with self._open() as repository:
            if name not in repository.entries():
                raise NotFound(f"model {name!r} is not in the repository")
            with repository.enter(name) as disk_folder:
                yield disk_folder

    def _read_settings(
        self, name: str, folder: Folder, override: Override, *, keep_problems: bool = False
    ) -> tuple[Settings, Findings]:
        """The settings, and what was found in them; InvalidConfig at once unless `keep_problems`."""
        file = _read_config(name, folder, override)
        findings = Findings(file.file, file.lines)
        settings = read_settings(file, name, findings)
        if not keep_problems:
            findings.raise_problems()
        return settings, findings

    def _read_golden(self, version: Folder, settings: Settings, findings: Findings) -> GoldenFiles:
        """The files of the version's golden requests; none where the model has them switched off."""
        path = f"parameters.{SWITCH}"
        if settings.parameters.get(SWITCH) == "0":
            if self._require_golden:
                expected = "this server wants golden requests (repository.require_golden)"
                findings.refuse(path, f"is off, but {expected}")
            elif GOLDEN_FOLDER in version.entries():
                findings.note(path, "is off: golden requests are not run")
            return GoldenFiles(version.place)
        files = read_files(version)
        if self._require_golden and not files.data and not files.problems:
            raise FileRefused(f"{version.place} has no golden requests (repository.require_golden)")
        return files

    def _ready_versions(self, folder: Folder, override: Override) -> list[int]:
        ready = []
        for entry, kind in folder.entries().items():
            number = version_number(entry)
            if number is not None and kind is EntryKind.FOLDER and self._is_ready(folder, entry, override):
                ready.append(number)
        return ready

    def _is_ready(self, folder: Folder, entry: str, override: Override) -> bool:
        if self._ready_marker is None or override.files:
            return True
        with folder.enter(entry) as version:
            return self._ready_marker in version.entries()


def _read_config(name: str, folder: Folder, override: Override) -> ConfigFile:
    if override.config:
        return parse_json_config(f"{name}/config of the load request", override.config)
    return read_config_file(folder)


def _read_graph(version: Folder, settings: Settings, findings: Findings) -> OnnxModel:
    """The version's graph; where it is refused, the configuration's problems are told with the graph's."""
    if any(problem.field == "default_model_filename" for problem in findings.problems):
        findings.raise_problems()
    try:
        return read_graph(version, settings.message.default_model_filename)
    except InvalidModel as error:
        raise InvalidModel([*findings.problems, *error.problems]) from error
