"""How the suite is spread over two processes, as `make test` runs it; and nothing in it is timed."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests that start servers take turns on one process: each wants the machine for itself. All others run beside
# them on the other.
ONE_AFTER_THE_OTHER = ("adversity", "integration")
# But for these, which start servers and mind nobody: they take turns with one another, beside the rest.
PATIENT = (
    "test_audit_archive_command",
    "test_demo_rollout",
    "test_dockerfiles",
    "test_kserve_client",
    "test_openapi",
    "test_sample_models",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in ONE_AFTER_THE_OTHER:
            group = "patient servers" if item.path.stem in PATIENT else "servers"
            item.add_marker(pytest.mark.xdist_group(group))
