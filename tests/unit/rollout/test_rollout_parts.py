"""Rollouts as the server builds them."""

import asyncio

import pytest

from headrace.errors import Unavailable
from headrace.model.registry import Registry
from headrace.rollout import controller
from headrace.rollout.parts import RolloutParts
from headrace.settings import RolloutSettings
from support.loops import run
from support.rollout_house import FakeLifecycle


def test_what_is_switched_off_stays_off(tmp_path, monkeypatch):
    """Though a database that could not be opened is tried again and again."""
    monkeypatch.setattr(controller, "OPEN_INTERVAL_S", 0.01)

    async def main():
        registry, loop = Registry(), asyncio.get_running_loop()
        settings = RolloutSettings(enabled=False)
        parts = RolloutParts(settings, "test", tmp_path, 1.0, registry, FakeLifecycle(registry), loop)
        await parts.start()
        parts.run()
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="switched off"):
            parts.service.status("")
        await parts.stop()
        assert list(tmp_path.iterdir()) == []

    run(main())
