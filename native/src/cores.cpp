// SPDX-License-Identifier: Apache-2.0
//
// How many threads are worth having: physical cores in the affinity mask, lowered by the CPU limits of the
// cgroup and its parents (v1 and v2) and by OMP_NUM_THREADS.
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "cgroup.h"
#include "threads.h"

namespace sounder {
namespace {

// CPUs that this process may be scheduled on; empty when the system does not say.
std::vector<int> allowed_cpus() {
  for (int capacity = 1024; capacity <= (1 << 20); capacity *= 2) {  // the kernel's mask may be longer
    std::vector<cpu_set_t> mask(capacity / (8 * sizeof(cpu_set_t)));
    size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) != 0) continue;
    std::vector<int> cpus;
    for (int cpu = 0; cpu < capacity; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, mask.data())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {};
}

// Hardware threads of one core name the same list of siblings.
int physical_cores() {
  std::set<std::string> cores;
  for (int cpu : allowed_cpus()) {
    std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string siblings;
    std::ifstream(folder + "thread_siblings_list") >> siblings;
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

// CPUs' worth of time that a cgroup's folder grants, 0 when it sets no limit.
double granted(const std::string &folder, bool v2) {
  double quota = 0, period = 0;
  if (v2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // "max 100000" leaves quota 0
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;  // -1: no limit
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

void apply_cgroups(int &cores) {
  for (const CgroupFolder &folder : cgroup_folders("cpu")) {
    double limit = granted(folder.path, folder.v2);
    // Rounded down: threads beyond the limit only make the kernel stop all of them for part of each period.
    if (limit > 0) cores = std::min(cores, std::max(1, static_cast<int>(limit + 1e-6)));
  }
}

}  // namespace

int usable_cores() {
  int cores = physical_cores();
  apply_cgroups(cores);
  if (const char *text = std::getenv("OMP_NUM_THREADS")) {
    int wanted = std::atoi(text);  // of a list "4,2" the first counts; 0 is no number
    if (wanted > 0) cores = std::min(cores, wanted);
  }
  return cores;
}

}  // namespace sounder
