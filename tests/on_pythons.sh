#!/usr/bin/env bash
# Run the core's tests on every Python from 3.10 on that is found here: names on PATH, and pyenv's. Fails with fewer than
# two. Give versions (3.12 3.13) for those alone: then each must be found. VENV's environment serves its own version.
#
# Each other version has an environment of its own, .venv-3.X, made once. The CUDA libraries are the same files for
# every Python, so they are hard links to those in VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

runs() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$2" ]; }

# The interpreter of a version: VENV's, one on PATH, or pyenv's.
find_python() {
  local python
  for python in "$venv/bin/python" "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if runs "$python" "$1"; then echo "$python" && return; fi
  done
}

# Make .venv-3.X with a Python.
make_environment() {
  local python=$1 env=$2 shared
  "$python" -m venv "$env"
  for shared in "$venv"/lib/python3.*/site-packages/nvidia*; do
    if [ -e "$shared" ]; then cp --archive --link "$shared" "$env"/lib/python3.*/site-packages/; fi
  done
  "$env/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable ".[test]"
  touch "$env/.complete"
}

# of the package, what needs a toolkit
beyond=(minmax_plugin/lightning minmax_plugin/mmgen minmax_plugin/mmengine minmax_plugin/cli minmax_plugin/hosts.py)
ran=()
for version in ${*:-3.10 3.11 3.12 3.13}; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    echo "Python $version is not found here" >&2
    if (($#)); then exit 1; fi
    continue
  fi
  env=$(dirname "$(dirname "$python")")
  if [ "$env" != "$venv" ]; then
    env=.venv-$version
    if [ ! -e "$env/.complete" ]; then make_environment "$python" "$env"; fi
  fi
  echo "Python $version: $env"
  "$env/bin/python" -m pytest -n 2 -q tests/core minmax_plugin "${beyond[@]/#/--ignore=}"
  ran+=("$version")
done
echo "The core's tests passed on Python ${ran[*]:-none}."
if (($# == 0 && ${#ran[@]} < 2)); then echo "at least two Pythons are needed, from 3.10 on" >&2 && exit 1; fi
