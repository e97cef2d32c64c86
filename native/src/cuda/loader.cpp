// SPDX-License-Identifier: Apache-2.0
#include "loader.h"

#include "failure.h"
#include "plugin.h"
#include "sibling.h"
#include "sounder.h"

namespace sounder {
namespace {

const CudaPlugin &plugin() {
  static const Sibling sibling = open_sibling("libsounder_cuda.so", kCudaPluginSymbol);
  if (!sibling.there) {
    fail(SOUNDER_INVALID,
         "Cannot use a GPU: this build has no libsounder_cuda.so. Install CUDA's compiler (nvcc) and cuBLAS, "
         "then build again: `deno task build`.");
  }
  const CudaPlugin *found = static_cast<const CudaPlugin *>(sibling.plugin);
  if (found == nullptr) {
    fail(SOUNDER_INVALID,
         "Cannot use a GPU: %s. Where CUDA and cuBLAS are installed, build again: `deno task build`.",
         sibling.reason.c_str());
  }
  if (found->version != kCudaPluginVersion) {
    fail(SOUNDER_INVALID,
         "Cannot use a GPU: libsounder_cuda.so is of another build. Build again: `deno task build`.");
  }
  return *found;
}

}  // namespace

std::unique_ptr<Device> open_cuda_device(int index) { return plugin().open(index); }

DeviceMemory cuda_device_memory(int index) { return plugin().memory(index); }

}  // namespace sounder
