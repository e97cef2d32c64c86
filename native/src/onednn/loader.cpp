// SPDX-License-Identifier: Apache-2.0
#include "loader.h"

#include <cstdlib>

#include "sibling.h"

namespace sounder {
namespace {

struct Found {
  const OnednnPlugin *plugin = nullptr;
  std::string reason;
};

Found open_plugin() {
  const Sibling sibling = open_sibling("libsounder_onednn.so", kOnednnPluginSymbol);
  if (!sibling.there) return {nullptr, "built without libdnnl-dev"};
  const OnednnPlugin *plugin = static_cast<const OnednnPlugin *>(sibling.plugin);
  if (plugin == nullptr) return {nullptr, sibling.reason};
  if (plugin->version != kOnednnPluginVersion) return {nullptr, "libsounder_onednn.so is of another build"};
  return {plugin, ""};
}

}  // namespace

const OnednnPlugin *find_onednn(std::string *reason) {
  const char *choice = std::getenv("SOUNDER_ONEDNN");
  if (choice != nullptr && std::string(choice) == "off") {
    *reason = "SOUNDER_ONEDNN=off";
    return nullptr;
  }
  static const Found found = open_plugin();
  *reason = found.reason;
  return found.plugin;
}

}  // namespace sounder
