// SPDX-License-Identifier: Apache-2.0
//
// What libsounder_onednn.so offers to matmul.cpp, which opens it at run time: products by oneDNN, each
// single-threaded in the thread that calls. Functions return 0 when the product is done, and another
// number when oneDNN refuses; then nothing has happened and the caller takes another way.
#pragma once

#include <cstdint>

namespace sounder {

// Raised with every change of this struct: the two objects must come from one build.
constexpr int kOnednnPluginVersion = 1;

struct OnednnPlugin {
  int version;             // kOnednnPluginVersion
  int library_version[3];  // of oneDNN

  // Lets oneDNN use instructions up to those of a level's name (kernels.h). The first call in a process
  // counts. Returns 1 when bf16 products run on AMX tiles, 0 otherwise.
  int (*start)(const char *level);

  // y[t, r] = sum over c of x[t, c] * w[r, c], rows *_stride values apart.
  int (*multiply_f32)(const float *x, int x_stride, const float *w, int w_stride, float *y, int y_stride,
                      int tokens, int rows, int columns);

  // The same for bf16 x and w, all three without gaps between rows. Each new shape costs milliseconds once
  // a thread. scratch: 64-byte aligned; refused when oneDNN needs more than its bytes.
  int (*multiply_bf16)(const uint16_t *x, const uint16_t *w, float *y, int tokens, int rows, int columns,
                       void *scratch, int64_t scratch_bytes);
};

// The one exported symbol: const OnednnPlugin *sounder_onednn_plugin(void)
constexpr const char *kOnednnPluginSymbol = "sounder_onednn_plugin";

}  // namespace sounder
