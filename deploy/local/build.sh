# shellcheck shell=bash
# Builds finetuned in Release under build/release. Sourced by quickstart and check.
#
#   build_configure TESTS     ON or OFF
#   build_targets [NAME ...]  all of them without a name

build_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build_directory=$build_repo/build/release

# A compile takes up to 1.2 GB: where memory is short, fewer run side by side.
build_jobs() {
  local processors megabytes
  processors=$(nproc)
  megabytes=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  if [ $((processors * 1200)) -gt "$megabytes" ]; then processors=$((megabytes / 1200)); fi
  echo $((processors > 0 ? processors : 1))
}

build_configure() {
  export CCACHE_NOHASHDIR=1
  local cache=$build_directory/CMakeCache.txt
  if grep -qs "^FINETUNED_TESTS:BOOL=$1\$" "$cache" && [ -e "$build_directory/build.ninja" ]; then return; fi
  cmake -S "$build_repo" -B "$build_directory" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFINETUNED_TESTS="$1" >&2
}

build_targets() {
  export CCACHE_NOHASHDIR=1
  ninja -C "$build_directory" -j "$(build_jobs)" "$@" >&2
}
