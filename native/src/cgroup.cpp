// SPDX-License-Identifier: Apache-2.0
#include "cgroup.h"

#include <algorithm>
#include <fstream>

namespace sounder {

namespace {

void add_with_parents(const std::string &root, std::string path, bool v2,
                      std::vector<CgroupFolder> &folders) {
  for (;; path = path.substr(0, path.rfind('/'))) {
    if (path == "/") path.clear();
    folders.push_back({root + path, v2});
    if (path.empty() || path.find('/') == std::string::npos) return;
  }
}

}  // namespace

// Lines of /proc/self/cgroup are "id:controllers:path"; v2's line names no controllers.
std::vector<CgroupFolder> cgroup_folders(const std::string &controller) {
  std::vector<CgroupFolder> folders;
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = std::string(",").append(line, first + 1, second - first - 1).append(",");
    std::string path = line.substr(second + 1);
    if (controllers == ",,") add_with_parents("/sys/fs/cgroup", path, true, folders);
    if (controllers.find("," + controller + ",") != std::string::npos)
      add_with_parents("/sys/fs/cgroup/" + controller, path, false, folders);
  }
  return folders;
}

}  // namespace sounder
