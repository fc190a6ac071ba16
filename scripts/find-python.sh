#!/bin/sh
# Print the path of a Python that can run Mainspring: 3.11 or later, with venv. $PYTHON, if set, is the only candidate.
set -eu

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && command -v "$PYTHON" && exit
    echo "PYTHON=$PYTHON is not a Python 3.11 or later with the venv module" >&2
    exit 1
fi

# What 'python3' means on this machine is its owner's choice, so it comes first.
for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null && usable "$name"; then
        command -v "$name"
        exit
    fi
done
for path in "${HOME:-/nonexistent}"/.pyenv/versions/3.*/bin/python3 "${HOME:-/nonexistent}"/.local/bin/python3.1[1-9]; do
    if [ -x "$path" ] && usable "$path"; then
        echo "$path"
        exit
    fi
done
cat >&2 <<'END'
No Python 3.11 or later with the venv module was found.
Install one (on Debian 12 and later, Ubuntu 24.04 and later: apt-get install python3 python3-venv),
or name one: make setup PYTHON=/path/to/python3.12
END
exit 1
