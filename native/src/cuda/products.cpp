// SPDX-License-Identifier: Apache-2.0
#include "products.h"

#include <instructions.cuh>

#include "device_workspace.h"
#include "errors.h"
#include "failure.h"
#include "row_kernels.h"
#include "sounder.h"

namespace sounder::cuda {

namespace {

// Plans kept at once: a shape costs tens of microseconds to plan, and prefill chunks have many lengths.
constexpr size_t kMostPlans = 4096;

void check(cublasStatus_t status, const char *what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(status == CUBLAS_STATUS_ALLOC_FAILED ? SOUNDER_OUT_OF_MEMORY : SOUNDER_INTERNAL,
       "cuBLASLt failed to %s: %s.", what, cublasLtGetStatusString(status));
}

// Column-major to cuBLASLt: a matrix [rows, columns] of ours is [columns, rows] with columns values a column.
cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t values, int64_t vectors) {
  cublasLtMatrixLayout_t made = nullptr;
  check(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(values), static_cast<uint64_t>(vectors),
                                   values),
        "describe a matrix");
  return made;
}

// Tensors lie at multiples of 64 bytes (weights.cpp), rows of activations at multiples of their width.
uint32_t alignment(int64_t row_bytes) {
  uint32_t bytes = 16;
  while (row_bytes % bytes != 0) bytes /= 2;
  return bytes;
}

class Preference {
 public:
  Preference() { check(cublasLtMatmulPreferenceCreate(&handle_), "state a preference"); }
  ~Preference() { cublasLtMatmulPreferenceDestroy(handle_); }
  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    check(cublasLtMatmulPreferenceSetAttribute(handle_, attribute, &value, sizeof value),
          "state a preference");
  }
  cublasLtMatmulPreference_t handle() const { return handle_; }

 private:
  cublasLtMatmulPreference_t handle_ = nullptr;
};

}  // namespace

Products::Plan::~Plan() {
  if (c != nullptr) cublasLtMatrixLayoutDestroy(c);
  if (b != nullptr) cublasLtMatrixLayoutDestroy(b);
  if (a != nullptr) cublasLtMatrixLayoutDestroy(a);
  if (operation != nullptr) cublasLtMatmulDescDestroy(operation);
}

Products::Products(cudaStream_t stream, void *workspace) : stream_(stream), workspace_(workspace) {
  int device = 0;
  check(cudaGetDevice(&device), "say which it is");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "describe itself");
  check(cudaDeviceGetAttribute(&major_, cudaDevAttrComputeCapabilityMajor, device), "describe itself");
  check(cublasLtCreate(&handle_), "start");
}

Products::~Products() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

const Products::Plan &Products::plan_for(const Shape &shape) {
  auto known = plans_.find(shape);
  if (known != plans_.end()) return known->second;
  if (plans_.size() >= kMostPlans) plans_.clear();
  const auto &[rows, columns, tokens, f32, into] = shape;
  const cudaDataType_t in = f32 ? CUDA_R_32F : CUDA_R_16BF, out = into == Into::kValues ? in : CUDA_R_32F;
  Plan &plan = plans_[shape];
  try {
    check(cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe a product");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                         sizeof transposed),
          "describe a product");
    plan.a = layout(in, columns, rows);
    plan.b = layout(in, columns, tokens);
    plan.c = layout(out, rows, tokens);
    Preference preference;
    preference.set<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kDeviceProductBytes);
    const uint32_t in_bytes = alignment(int64_t{columns} * (f32 ? 4 : 2));
    const uint32_t out_bytes = alignment(int64_t{rows} * (out == CUDA_R_32F ? 4 : 2));
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, in_bytes);
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, in_bytes);
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out_bytes);
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out_bytes);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.a, plan.b, plan.c, plan.c,
                                         preference.handle(), 1, &found, &count),
          "find an algorithm");
    if (count == 0) check(CUBLAS_STATUS_NOT_SUPPORTED, "find an algorithm");
    plan.algorithm = found.algo;
  } catch (...) {
    plans_.erase(shape);
    throw;
  }
  return plan;
}

bool Products::streams(const WeightMatrix &w, int tokens) const {
  return can_stream_hopper(w, tokens, major_) || can_stream(w, tokens);
}

// On Hopper a product begins to fetch its weights before the kernel before it has ended.
void Products::stream(const WeightMatrix &w, const Activations &x, int tokens, Into into, void *y) {
  if (!can_stream_hopper(w, tokens, major_)) return stream_weights(stream_, w, x.values, tokens, into, y);
  Launcher launcher;
  launcher.stream = stream_;
  launcher.multiprocessors = multiprocessors_;
  launcher.overlap = true;
  stream_hopper(launcher, w, x, tokens, into, y);
}

void Products::multiply(const WeightMatrix &w, const void *x, int tokens, Into into, void *y) {
  if (streams(w, tokens)) return stream(w, {x}, tokens, into, y);
  multiply_many(w, x, tokens, into, y);
}

void Products::multiply_normed(const WeightMatrix &w, const float *x, const float *norm, float epsilon,
                               int tokens, void *normed, Into into, void *y) {
  if (can_stream_hopper(w, tokens, major_)) return stream(w, {x, norm, epsilon}, tokens, into, y);
  rms_norm(stream_, x, norm, epsilon, tokens, w.columns, w.is_f32, normed);
  multiply(w, normed, tokens, into, y);
}

void Products::multiply_many(const WeightMatrix &w, const void *x, int tokens, Into into, void *y) {
  if (into == Into::kActivated) fail(SOUNDER_INTERNAL, "cuBLASLt does not activate.");
  const Plan &plan = plan_for({w.rows, w.columns, tokens, w.is_f32, into});
  const float one = 1, beta = into == Into::kResidual ? 1 : 0;
  check(cublasLtMatmul(handle_, plan.operation, &one, w.data, plan.a, x, plan.b, &beta, y, plan.c, y, plan.c,
                       &plan.algorithm, workspace_, static_cast<size_t>(kDeviceProductBytes), stream_),
        "multiply");
}

}  // namespace sounder::cuda
