// SPDX-License-Identifier: Apache-2.0
//
// Products of activations and weights on the device. Weights [rows, columns] row-major and activations x
// [tokens, columns] are of one type T, bf16 or float32; sums are float32. Few tokens stream the weights once
// (gemv_hopper.cu, and gemv.cu for other devices); many go to cuBLASLt.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "matmul.h"

namespace sounder::cuda {

// What becomes of a product's sums.
enum class Into {
  kFloats,     // y = sums, float32
  kResidual,   // y += sums, float32
  kValues,     // y = sums, T
  kActivated,  // y[t, i] = silu(sums[t, i]) * sums[t, rows / 2 + i], T: of gate and up; few tokens only
};

// Tokens up to which weights are streamed by our own kernels.
constexpr int kStreamTokens = 4, kHopperStreamTokens = 8;

// Whether the streaming kernel takes a product: rows of 16-byte pieces.
bool can_stream(const WeightMatrix &w, int tokens);

// The product by the streaming kernel; y has no gaps between rows.
void stream_weights(cudaStream_t stream, const WeightMatrix &w, const void *x, int tokens, Into into,
                    void *y);

// What weights are multiplied with: T, or floats of which RMSNorm makes T on the way.
struct Activations {
  const void *values = nullptr;  // [tokens, columns] T, or floats with `norm`
  const float *norm = nullptr;   // [columns]
  float epsilon = 0;
};

struct Launcher;

// The same for devices of compute capability 9, and bf16.
bool can_stream_hopper(const WeightMatrix &w, int tokens, int major);
void stream_hopper(const Launcher &launcher, const WeightMatrix &w, const Activations &x, int tokens,
                   Into into, void *y);

class Products {
 public:
  // workspace: kDeviceProductBytes of device memory, aligned to 256.
  Products(cudaStream_t stream, void *workspace);
  ~Products();
  Products(const Products &) = delete;
  Products &operator=(const Products &) = delete;

  // Whether weights are streamed; only then may `into` be kActivated.
  bool streams(const WeightMatrix &w, int tokens) const;
  // y[t, r] for t < tokens, without gaps between rows.
  void multiply(const WeightMatrix &w, const void *x, int tokens, Into into, void *y);
  // With x = T of RMSNorm of floats. normed: room for that.
  void multiply_normed(const WeightMatrix &w, const float *x, const float *norm, float epsilon, int tokens,
                       void *normed, Into into, void *y);
  // The same by cuBLASLt, however few tokens; into is not kActivated.
  void multiply_many(const WeightMatrix &w, const void *x, int tokens, Into into, void *y);

 private:
  struct Plan {
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulAlgo_t algorithm;
    ~Plan();
  };
  using Shape = std::tuple<int, int, int, bool, Into>;  // rows, columns, tokens, f32, into
  const Plan &plan_for(const Shape &shape);
  void stream(const WeightMatrix &w, const Activations &x, int tokens, Into into, void *y);

  cudaStream_t stream_;
  int multiprocessors_ = 0, major_ = 0;
  cublasLtHandle_t handle_ = nullptr;
  void *workspace_;
  std::map<Shape, Plan> plans_;
};

}  // namespace sounder::cuda
