// SPDX-License-Identifier: Apache-2.0
//
// What libsounder_cuda.so offers to the loader, which opens it when an engine asks for a GPU. The two objects
// come from one build. Functions fail with a Failure.
#pragma once

#include <memory>

#include "device.h"

namespace sounder {

// Raised with every change of this struct or of device.h.
constexpr int kCudaPluginVersion = 6;

struct CudaPlugin {
  int version;  // kCudaPluginVersion
  DeviceMemory (*memory)(int index);
  std::unique_ptr<Device> (*open)(int index);
};

// The one exported symbol: const CudaPlugin *sounder_cuda_plugin(void)
constexpr const char *kCudaPluginSymbol = "sounder_cuda_plugin";

}  // namespace sounder
