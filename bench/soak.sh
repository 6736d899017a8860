#!/bin/sh
# soak.sh PYTHON IVORY SOURCE_DIR KILL_AT_WRITE: random kills, then damaged files. Ends at the first that goes wrong.
set -eu
"$1" "$3/bench/soak_kills.py" "$2" "${SOAK_KILLS:-500}"
exec "$1" "$3/tests/cli/test_foreign_files.py" "$2" "$4" "${SOAK_DAMAGES:-1000}" "${SOAK_SEED:-soak}"
