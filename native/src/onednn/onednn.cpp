// SPDX-License-Identifier: Apache-2.0
#include "onednn.h"

#include <array>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <optional>

extern "C" void omp_set_num_threads(int);

namespace sounder {
namespace {

// The team of the engine is the only one: each of its threads tells OpenMP once that it stays alone, so
// that libgomp never starts threads of its own.
void stay_alone() {
  thread_local bool told = false;
  if (!told) omp_set_num_threads(1);
  told = true;
}

const dnnl::engine &cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

int start(const char *level) {
  static const int amx = [](const char *name) {
    stay_alone();
    if (std::strcmp(name, "avx2") == 0) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (std::strcmp(name, "avx512") == 0) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    constexpr int kAmx = dnnl_cpu_isa_avx512_core_amx;
    return (static_cast<int>(dnnl_get_effective_cpu_isa()) & kAmx) == kAmx ? 1 : 0;
  }(level);
  return amx;
}

int multiply_f32(const float *x, int x_stride, const float *w, int w_stride, float *y, int y_stride,
                 int tokens, int rows, int columns) {
  stay_alone();
  return dnnl_sgemm('N', 'T', tokens, rows, columns, 1.0f, x, x_stride, w, w_stride, 0.0f, y, y_stride);
}

// tokens, rows, columns
using Shape = std::array<int, 3>;

struct Product {
  dnnl::matmul::primitive_desc desc;
  dnnl::matmul primitive;
};

dnnl::matmul::primitive_desc describe(const Shape &shape) {
  using Type = dnnl::memory::data_type;
  auto [tokens, rows, columns] = shape;
  dnnl::memory::desc x({tokens, columns}, Type::bf16, dnnl::memory::dims{columns, 1});
  dnnl::memory::desc w({columns, rows}, Type::bf16, dnnl::memory::dims{1, columns});
  dnnl::memory::desc y({tokens, rows}, Type::f32, dnnl::memory::dims{rows, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), x, w, y, attributes};
#else
  return {dnnl::matmul::desc(x, w, y), attributes, cpu()};
#endif
}

// Making a primitive compiles code (milliseconds), so each thread keeps those that it has made; oneDNN
// shares the code between threads. An empty entry remembers a refusal.
std::optional<Product> &product(const Shape &shape) {
  constexpr size_t kMost = 512;  // shapes of one model are far fewer: a bound, not a cache policy
  thread_local std::map<Shape, std::optional<Product>> products;
  auto found = products.find(shape);
  if (found != products.end()) return found->second;
  if (products.size() >= kMost) products.clear();
  std::optional<Product> &made = products[shape];
  try {
    dnnl::matmul::primitive_desc desc = describe(shape);
    // Plain C++ loops are hundreds of times slower than panels in f32.
    if (std::strncmp(desc.impl_info_str(), "ref", 3) != 0) made.emplace(desc, dnnl::matmul(desc));
  } catch (const dnnl::error &) {
  }
  return made;
}

int multiply_bf16(const uint16_t *x, const uint16_t *w, float *y, int tokens, int rows, int columns,
                  void *scratch, int64_t scratch_bytes) {
  stay_alone();
  try {
    std::optional<Product> &made = product({tokens, rows, columns});
    if (!made) return 1;
    const dnnl::matmul::primitive_desc &desc = made->desc;
    if (static_cast<int64_t>(desc.scratchpad_desc().get_size()) > scratch_bytes) return 2;
    dnnl::memory from(desc.src_desc(), cpu(), const_cast<uint16_t *>(x));
    dnnl::memory weights(desc.weights_desc(), cpu(), const_cast<uint16_t *>(w));
    dnnl::memory to(desc.dst_desc(), cpu(), y);
    dnnl::memory pad(desc.scratchpad_desc(), cpu(), scratch);
    dnnl::stream stream(cpu());
    made->primitive.execute(
        stream,
        {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, to}, {DNNL_ARG_SCRATCHPAD, pad}});
    stream.wait();
    return 0;
  } catch (...) {
    return 3;
  }
}

}  // namespace
}  // namespace sounder

extern "C" __attribute__((visibility("default"))) const sounder::OnednnPlugin *sounder_onednn_plugin() {
  static const dnnl_version_t *library = dnnl_version();
  static const sounder::OnednnPlugin plugin = {
      .version = sounder::kOnednnPluginVersion,
      .library_version = {library->major, library->minor, library->patch},
      .start = sounder::start,
      .multiply_f32 = sounder::multiply_f32,
      .multiply_bf16 = sounder::multiply_bf16,
  };
  return &plugin;
}
