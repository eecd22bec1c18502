"""How the suite is spread over two processes, as `make test` runs it; and nothing in it is timed."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests that start servers take turns on one process: each wants the machine for itself. All others run beside
# them on the other.
ONE_AFTER_THE_OTHER = ("adversity", "integration")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in ONE_AFTER_THE_OTHER:
            item.add_marker(pytest.mark.xdist_group("servers"))
