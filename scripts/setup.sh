#!/bin/sh
# Make .venv from nothing and install Mainspring into it, with the versions of constraints.txt.
set -eu
cd "$(dirname "$0")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
here=$(pwd -P)

# A virtual environment knows its place: one that was moved or copied, or whose Python went away, is made anew.
works() {
    .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        head -n 3 .venv/bin/pip | grep -qF "$here/.venv/bin/python"
}
if ! works; then
    python=$(scripts/find-python.sh)
    echo "Creating .venv with $python"
    "$python" -m venv --clear .venv
fi

echo "Installing into .venv (about half a minute the first time)"
.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,market,postgres,s3]'
touch .venv/.installed
