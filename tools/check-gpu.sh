#!/usr/bin/env bash
# Everything about Ivory that only a GPU can show: the tests on GPUs, the same under compute-sanitizer where it is installed, two
# runs with the same bits, and the benchmark. Run it in the folder that carry.sh made. Exit code 1 where something is wrong.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
bad=0
say() { printf '\n== %s\n' "$*"; }

# cuBLASLt comes with the CUDA toolkit or with PyTorch.
folders=$here/lib
for found in /usr/local/cuda/lib64 /usr/local/lib/python3*/dist-packages/nvidia/{cu13,cublas}/lib \
  "$HOME"/.local/lib/python3*/site-packages/nvidia/{cu13,cublas}/lib \
  $(python3 -c 'import nvidia, pathlib
for root in nvidia.__path__:
    for library in pathlib.Path(root).rglob("libcublasLt.so*"):
        print(library.parent)' 2>/dev/null); do
  [ -d "$found" ] && folders=$folders:$found
done
export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} IVORY_TEST_DEVICE=cuda IVORY_SOURCE_DIR=$here
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || { echo 'no GPU here'; exit 1; }

say 'tests on the GPU'
"$here/bin/test_conformance_devices" || bad=1

say 'two runs of one seed: the same bits; blocks of 3 and two lanes: the same again'
out=$(mktemp -d)
for words in 'one --device cuda' 'two --device cuda' 'blocks --device cuda --block 3' 'lanes --device cuda:0,cuda:0'; do
  # shellcheck disable=SC2086  # words are words
  "$here/bin/ivory" run "$here/scenarios/quickstart.toml" --set rounds=10 --json --out "$out/"$words |
    sed 's/.*"state_hash": "\([^"]*\)".*/\1/' >"$out/${words%% *}.hashes" || bad=1
  [ -s "$out/${words%% *}.hashes" ] && cmp "$out/one.hashes" "$out/${words%% *}.hashes" || bad=1
done

say 'three seeds in one block: the bits of each alone'
for how in 3 1; do
  "$here/bin/ivory" compare "$here/scenarios/quickstart.toml" --only vb-admm --seeds 3 --set rounds=5 --json --fresh \
    --parallel "$how" --device cuda --out "$out" | sed -n 's/.*"seed": \([0-9]*\).*"state_hash": "\([^"]*\)".*/\1 \2/p' |
    sort >"$out/seeds$how" || bad=1
done
[ -s "$out/seeds1" ] && cmp "$out/seeds1" "$out/seeds3" || bad=1
rm -rf "$out"

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    say "compute-sanitizer $tool"
    compute-sanitizer --tool $tool --error-exitcode 1 "$here/bin/test_conformance_devices" | tail -n 20 || bad=1
  done
else
  say 'compute-sanitizer is not installed: not run'
fi

say 'benchmark'
"$here/bin/ivory_bench" --json || bad=1
exit $bad
