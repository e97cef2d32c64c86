#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Checks that object files compiled for one instruction level cannot run on a CPU without it by accident: no
# weak symbol (the linker might keep this copy for everybody) and no static initialiser (runs at load).
# Usage: level_objects.sh OBJECT...; objects of other files are passed over.
checked=0
failed=0
for object in "$@"; do
  case "$object" in
    *_scalar.cpp.o | *_avx2.cpp.o | *_avx512.cpp.o | *_amx.cpp.o) ;;
    *) continue ;;
  esac
  checked=$((checked + 1))
  symbols=$(nm -C "$object") || exit 1
  weak=$(printf '%s\n' "$symbols" | grep -E ' [WwVvu] ')
  if [ -n "$weak" ]; then
    echo "$object has weak symbols:"
    echo "$weak"
    failed=$((failed + 1))
  fi
  if objdump -h "$object" | grep -E '\.(init_array|ctors|preinit_array)'; then
    echo "$object has static initialisers"
    failed=$((failed + 1))
  fi
done
echo "$checked level objects checked, $failed problems"
# Four levels of the row kernels at least: a check of nothing is a failure.
[ "$checked" -ge 4 ] && [ "$failed" -eq 0 ]
