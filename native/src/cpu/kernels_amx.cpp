// SPDX-License-Identifier: Apache-2.0
#define SOUNDER_LEVEL_NAME "amx"
#define SOUNDER_LEVEL_TABLE kernels_amx
#include "kernels.inc"
