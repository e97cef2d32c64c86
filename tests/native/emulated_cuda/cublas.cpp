// SPDX-License-Identifier: Apache-2.0
#include <cublasLt.h>

#include <cstring>
#include <vector>

#include "cuda_bf16.h"
#include "streams.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
  bool is_transposed = false;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  int64_t rows, columns, leading;
};
struct cublasLtMatmulPreferenceOpaque_t {};

namespace {

using Layout = cublasLtMatrixLayoutOpaque_t;

void widen_column(const void *matrix, const Layout &layout, int64_t column, float *values) {
  const int64_t first = column * layout.leading;
  if (layout.type == CUDA_R_32F)
    std::memcpy(values, static_cast<const float *>(matrix) + first, size_t(layout.rows) * 4);
  else
    for (int64_t i = 0; i < layout.rows; ++i)
      values[i] = __bfloat162float(static_cast<const __nv_bfloat16 *>(matrix)[first + i]);
}

float dot(const float *a, const float *b, int64_t count) {
  constexpr int kLanes = 8;
  float sums[kLanes] = {}, sum = 0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  for (; i < count; ++i) sum += a[i] * b[i];
  for (float part : sums) sum += part;
  return sum;
}

void put(void *matrix, const Layout &layout, int64_t place, float sum, bool adds) {
  if (layout.type == CUDA_R_16BF) {
    static_cast<__nv_bfloat16 *>(matrix)[place] = __float2bfloat16_rn(sum);
    return;
  }
  float &value = static_cast<float *>(matrix)[place];
  value = adds ? value + sum : sum;
}

// d [rows of a, columns of b] = or += transposed a times b
void multiply(const void *a, const Layout &a_layout, const void *b, const Layout &b_layout, void *d,
              const Layout &d_layout, bool adds) {
  const int64_t depth = a_layout.rows;
  std::vector<float> columns(size_t(depth * b_layout.columns)), row(static_cast<size_t>(depth));
  for (int64_t t = 0; t < b_layout.columns; ++t) widen_column(b, b_layout, t, columns.data() + t * depth);
  for (int64_t r = 0; r < a_layout.columns; ++r) {
    widen_column(a, a_layout, r, row.data());
    for (int64_t t = 0; t < b_layout.columns; ++t)
      put(d, d_layout, t * d_layout.leading + r, dot(row.data(), columns.data() + t * depth, depth), adds);
  }
}

template <typename T>
cublasStatus_t forget(T *made) {
  delete made;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

const char *cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "an error";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return forget(handle); }
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *made, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  *made = new Layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), leading};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return forget(layout); }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *made, cublasComputeType_t, cudaDataType_t) {
  *made = new cublasLtMatmulDescOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) { return forget(description); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t, const void *value, size_t) {
  description->is_transposed = *static_cast<const cublasOperation_t *>(value) == CUBLAS_OP_T;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made) {
  *made = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return forget(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t, const void *,
                                                    size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t *, int *count) {
  const bool is_product = description->is_transposed && a->rows == b->rows && a->type == b->type &&
                          d->rows == a->columns && d->columns == b->columns;
  *count = is_product ? 1 : 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *, void *, size_t,
                              cudaStream_t stream) {
  const float scale = *static_cast<const float *>(alpha), kept = *static_cast<const float *>(beta);
  const bool adds = kept == 1;
  if (scale != 1 || (kept != 0 && !adds) || c != d || (adds && d_layout->type != CUDA_R_32F))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const Layout of_a = *a_layout, of_b = *b_layout, of_d = *d_layout;
  emulated::queue_work(stream, [=] { multiply(a, of_a, b, of_b, d, of_d, adds); });
  return CUBLAS_STATUS_SUCCESS;
}
