#!/bin/sh
# Puts wheels of headrace and of everything that LOCK pins into FOLDER, for deploy/install_wheelhouse.sh.
#
# What LOCK pins is checked against its hashes and never built here. headrace's own wheel is built in an
# environment that pip makes for it, from pyproject.toml's build-system requirements.
set -eu

if [ $# -ne 2 ]; then
  echo "usage: $0 LOCK FOLDER" >&2
  exit 2
fi
lock=$1
folder=$2
python=${PYTHON:-python3}

pip() {
  "$python" -m pip --disable-pip-version-check "$@"
}

pip download --quiet --require-hashes --only-binary :all: --dest "$folder" --requirement "$lock"
pip wheel --quiet --no-deps --wheel-dir "$folder" .
