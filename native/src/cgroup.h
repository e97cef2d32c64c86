// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace sounder {

// A folder in which a control group's limits stand, of version 1 or 2.
struct CgroupFolder {
  std::string path;
  bool v2;
};

// The folders of this process's group and of all its parents for a controller ("cpu", "memory"): a limit
// may stand in any of them. Some may not exist, as in a container that sees only its own.
std::vector<CgroupFolder> cgroup_folders(const std::string &controller);

}  // namespace sounder
