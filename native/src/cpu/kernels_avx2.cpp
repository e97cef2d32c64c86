// SPDX-License-Identifier: Apache-2.0
#define SOUNDER_LEVEL_NAME "avx2"
#define SOUNDER_LEVEL_TABLE kernels_avx2
#include "kernels.inc"
