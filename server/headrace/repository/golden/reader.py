"""From a version's golden files to requests that can be run, all of what is wrong told at once."""

from collections.abc import Mapping

from headrace.repository.config import ModelConfig
from headrace.repository.golden.document import Members, parse_document
from headrace.repository.golden.files import GoldenFiles
from headrace.repository.golden.inputs import read_inputs
from headrace.repository.golden.outputs import ABSOLUTE, RELATIVE, OutputReader
from headrace.repository.golden.request import GoldenRequest
from headrace.repository.problems import Findings, InvalidModel, Problem

# The model's parameters: whether golden requests are run, and tolerances of those that name none.
SWITCH = "golden"
_PARAMETERS = {ABSOLUTE: "golden_absolute_tolerance", RELATIVE: "golden_relative_tolerance"}
_KEYS = ("description", "id", "inputs", "outputs", ABSOLUTE, RELATIVE)


def read_requests(files: GoldenFiles, config: ModelConfig) -> tuple[GoldenRequest, ...]:
    """The golden requests of `files`, held against `config`; InvalidModel has every problem of every file."""
    requests: list[GoldenRequest] = []
    problems: list[Problem] = list(files.problems)
    for path, data in files.data.items():
        findings = Findings(f"{files.place}/{path}")
        document = parse_document(data, findings)
        if document is not None:
            requests.append(_request(document, config))
        problems += findings.problems
    if problems:
        raise InvalidModel(problems)
    return tuple(requests)


def _request(document: Members, config: ModelConfig) -> GoldenRequest:
    document.refuse_unknown(_KEYS)
    for name in ("description", "id"):
        document.text(name)
    inputs = read_inputs(document, config)
    outputs = OutputReader(config, inputs.rows, _defaults(document, config.parameters))
    return GoldenRequest(document.findings.file, inputs.tensors, outputs.read(document))


def _defaults(document: Members, parameters: Mapping[str, str]) -> dict[str, float]:
    """The tolerances that the model names, and in their place those that the file names."""
    model = {name: float(parameters[key]) for name, key in _PARAMETERS.items() if key in parameters}
    file = {name: document.distance(name) for name in (ABSOLUTE, RELATIVE)}
    return model | {name: distance for name, distance in file.items() if distance is not None}
