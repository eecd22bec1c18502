"""Adds one step to the build: the protobuf modules are generated from protos/."""

import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "scripts"))


class GenerateThenBuild(build_py):
    """Generates the protobuf modules before the package's files are collected."""

    def run(self) -> None:
        from build_protos import generate

        generate(ROOT / "protos", ROOT / "server" / "headrace" / "pb")
        self.packages = find_packages(str(ROOT / "server"))
        super().run()


setup(cmdclass={"build_py": GenerateThenBuild})
