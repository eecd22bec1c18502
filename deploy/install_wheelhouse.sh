#!/bin/sh
# Makes the virtual environment VENV with headrace[EXTRA] from the wheels in FOLDER alone; needs no network.
# pip itself stays outside: what serves needs none.
set -eu

if [ $# -ne 3 ]; then
  echo "usage: $0 FOLDER EXTRA VENV" >&2
  exit 2
fi
folder=$1
extra=$2
venv=$3
python=${PYTHON:-python3}

"$python" -m venv --without-pip "$venv"
"$python" -m pip --isolated --disable-pip-version-check --python "$venv/bin/python" install \
  --quiet --no-index --find-links "$folder" "headrace[$extra]"
