// SPDX-License-Identifier: Apache-2.0
#define SOUNDER_LEVEL_NAME "avx512"
#define SOUNDER_LEVEL_TABLE kernels_avx512
#include "kernels.inc"
