"""Adds one step to the build: the protobuf modules are generated from protos/."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "scripts"))


class GenerateThenBuild(build_py):
    """Generates the protobuf modules before the package's files are collected."""

    def run(self) -> None:
        from build_protos import generate

        generate(ROOT / "protos", ROOT / "server" / "headrace" / "pb")
        super().run()


setup(cmdclass={"build_py": GenerateThenBuild})
