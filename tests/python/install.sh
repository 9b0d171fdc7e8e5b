#!/usr/bin/env bash
# Makes the virtual environment $1 with what the tests need from PyPI, or with what $2 names.
set -euo pipefail

venv="$1"
requirements="${2:-$(cd "$(dirname "$0")" && pwd)/requirements.txt}"
python="${PYTHON:-python3}"

rm -rf "$venv"
if ! "$python" -m venv "$venv" 2>/dev/null; then
    # Debian and Ubuntu ship python3 without ensurepip: make the environment with virtualenv.
    rm -rf "$venv"
    echo "python3 -m venv does not work here (on Debian: apt-get install python3-venv);" \
        "trying virtualenv from PyPI" >&2
    if ! "$python" -m pip install --quiet --user virtualenv 2>/dev/null \
        && ! "$python" -m pip install --quiet --user --break-system-packages virtualenv; then
        echo "neither venv nor pip works with $python. Install python3-venv, or set" \
            "TIDEGAUGE_PYTHON to a Python that has $requirements" >&2
        exit 1
    fi
    "$python" -m virtualenv --quiet "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
