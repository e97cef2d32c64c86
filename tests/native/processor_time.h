// SPDX-License-Identifier: Apache-2.0
//
// What this process has taken of its cores.
#pragma once

#include <sys/resource.h>

inline double cpu_seconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
         1e-6 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}
