#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What libsounder.so exports is exactly what sounder.h declares: exports_test.sh LIBRARY HEADER
set -eu
declared=$(grep -o 'sounder_[a-z_]*(' "$2" | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$1" | awk '{ print $3 }' | sort -u)
if [ "$declared" != "$exported" ]; then
  printf 'declared:\n%s\nexported:\n%s\n' "$declared" "$exported"
  exit 1
fi
