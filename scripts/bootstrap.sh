# Sourced by the other shell scripts here. Creates .venv/ and installs this package with the extras
# in $1 (such as "[test]") and the versions in scripts/constraints.txt, and compiles it, unless that
# is done already. Sets $python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
extras=${1:-}

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

find_python() {
  local name
  for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  fail "Python 3.11 or newer is needed: apt install python3 python3-venv, or set PYTHON"
}

stamp=.venv/installed"${extras//[\[\],]/-}"
wanted=$(cat setup.cfg scripts/constraints.txt | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  if ! [ -x "$python" ]; then
    found=$(find_python)
    printf 'Making a virtual environment in .venv with %s\n' "$("$found" --version)" >&2
    "$found" -m venv .venv || { rm -rf .venv; fail "no venv: apt install python3-venv"; }
  fi
  printf 'Installing the packages of setup.cfg%s\n' "${extras:+ $extras}" >&2
  "$python" -m pip install --disable-pip-version-check -c scripts/constraints.txt \
    -e ".$extras" >&2
  printf '%s\n' "$wanted" >"$stamp"
fi

# Compile kernels and bytecode now, so the first run does not have to.
wanted=$(find pipeline -name '*.py' -exec cat {} + | cat - scripts/constraints.txt | sha256sum)
if [ "$(cat .venv/compiled 2>/dev/null)" != "$wanted" ]; then
  "$python" -m pipeline.kernels
  "$python" -m compileall -q pipeline
  printf '%s\n' "$wanted" >.venv/compiled
fi
