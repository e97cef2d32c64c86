// SPDX-License-Identifier: Apache-2.0
#define SOUNDER_LEVEL_NAME "scalar"
#define SOUNDER_LEVEL_TABLE kernels_scalar
#include "kernels.inc"
