// SPDX-License-Identifier: Apache-2.0
//
// Opens libsounder_cuda.so, which lies beside the object that this code is in, when a GPU is asked for.
#pragma once

#include <memory>

#include "device.h"

namespace sounder {

// Both fail with SOUNDER_INVALID and a sentence that says what is missing: the library, what it needs, a
// driver, or a GPU with this index.
std::unique_ptr<Device> open_cuda_device(int index);
DeviceMemory cuda_device_memory(int index);

}  // namespace sounder
