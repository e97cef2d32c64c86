#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What there is to test on a machine with a GPU, after a build with tests (`deno task test:gpu` builds): native
# tests, goldens and sampled attention through Deno, and compute-sanitizer over the kernels where it is
# installed; `test_gpu.sh native goldens sanitizers` with those parts alone that are named. Goes through all of
# it, one after another, and says at the end what failed. What takes longer than SOUNDER_TEST_SECONDS has: the
# last line of its output that begins with "run" names the test.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build/release failed=() seconds=${SOUNDER_TEST_SECONDS:-900}
[ $# -gt 0 ] || set -- native goldens sanitizers

limited() { timeout --kill-after 10 "$seconds" "$@"; }
pass() {
  local begin=$SECONDS status
  echo "== $*"
  limited "$@"
  status=$?
  echo "   status $status after $((SECONDS - begin)) s"
  [ $status -eq 0 ] || failed+=("$* (status $status)")
}
on_gpu() { SOUNDER_DEVICE=cuda pass "$@"; }

native() {
  for test in cuda_sampled cuda_attention cuda_best cuda_draw cuda_products; do pass $build/${test}_test; done
  for test in device device_decode device_host device_sampled device_strategies device_lsh device_host_attention device_stages \
    transformer transformer_bf16 contexts api_threads; do
    on_gpu $build/${test}_test
  done
  for test in transformer transformer_bf16 contexts; do SOUNDER_HOST_LAYERS=1 on_gpu $build/${test}_test; done
}

goldens() {
  on_gpu deno test -A tests/end_to_end/golden_*_test.ts tests/ffi/{sampled,hidden,saved}_test.ts tests/bench/gpu_stages_test.ts
}

# Products of other kinds than the streamed ones are cuBLAS's, nvjet_…, of which racecheck reports races; of
# stream_kernel (gemv_hopper.cu) it takes no notice that a lane arrives at a barrier for its warp.
races_of() {
  local log
  log=$(mktemp)
  echo "== races of $1"
  limited compute-sanitizer --tool racecheck "$1" >"$log" 2>&1 && ! grep 'Race reported' "$log" | grep -v 'nvjet_\|stream_kernel' && return
  tail -n 3 "$log"
  failed+=("races of $1")
}

sanitizers() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "compute-sanitizer is not there: memory and races of kernels are not checked."
    return
  fi
  for test in cuda_sampled cuda_attention cuda_best cuda_draw cuda_products; do
    pass compute-sanitizer --error-exitcode 1 $build/${test}_test
    races_of $build/${test}_test
  done
  for test in device device_sampled device_lsh; do on_gpu compute-sanitizer --error-exitcode 1 $build/${test}_test; done
}

# Without one all that follows would be told as failed, test by test.
require_gpu() {
  local said status
  said=$($build/cuda_best_test 2>&1)
  status=$?
  case $status in
    77) echo "Cannot test on a GPU: ${said#skipped: }." ;;
    127) echo "Cannot test on a GPU: the tests of kernels were not built; CUDA's compiler (nvcc) or cuBLAS is missing." ;;
    *) return ;;
  esac
  exit 1
}

for part in "$@"; do
  case $part in
    native | goldens | sanitizers) ;;
    *) echo "Cannot test $part: there are native, goldens and sanitizers." && exit 2 ;;
  esac
done
require_gpu

for part in "$@"; do
  $part
done
[ ${#failed[@]} -eq 0 ] && echo "All passed." && exit
printf 'Failed: %s\n' "${failed[@]}"
exit 1
