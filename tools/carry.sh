#!/usr/bin/env bash
# carry.sh DIR: everything that a machine with a GPU and nothing installed needs to run Ivory, its tests on GPUs and its
# benchmark, in one folder: programs, the shared libraries that are not the C library's, scenarios and the shipped data.
# Build first with ./x build --portable. There, run DIR/check-gpu.sh.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
[ $# -eq 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
build=$root/build-portable
programs=(ivory bench/ivory_bench tests/test_conformance_devices)
for program in "${programs[@]}"; do
  [ -x "$build/$program" ] || { echo "carry: $build/$program is not there; run ./x build --portable first" >&2; exit 1; }
done
mkdir -p "$1/bin" "$1/lib" "$1/scenarios" "$1/data"
cp "${programs[@]/#/$build/}" "$1/bin/"
# What the tests need beside the C library: Boost.Test and the like. libstdc++ and OpenMP are in the programs.
for program in "$1"/bin/*; do
  ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}'
done | sort -u | grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | while read -r library; do
  cp -L "$library" "$1/lib/"
done
cp "$root"/scenarios/*.toml "$1/scenarios/"
cp -r "$root/data/." "$1/data/"
cp "$root/tools/check-gpu.sh" "$1/"
echo "carry: $(du -sh "$1" | cut -f1) in $1; there: $1/check-gpu.sh"
