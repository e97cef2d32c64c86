// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong on the emulated GPU, where a test asks for it. Both count from when they are changed:
//   SOUNDER_EMULATED_ALLOCATIONS=N   so many more find memory, and no other, whatever is free
//   SOUNDER_EMULATED_KERNELS=N       so many more are run; the next one breaks the device, which every later
//                                    call says, as after an illegal access
#pragma once

namespace emulated {

// Whether an allocation, or a graph that is made, finds no memory.
bool refuses_memory();
void count_kernel();
bool is_lost();

}  // namespace emulated
