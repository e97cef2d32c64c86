// SPDX-License-Identifier: Apache-2.0
#include "loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace sounder {
namespace {

struct Found {
  const OnednnPlugin *plugin = nullptr;
  std::string reason;
};

Found open_plugin() {
  Dl_info here;
  static const char anchor = 0;
  if (dladdr(&anchor, &here) == 0 || here.dli_fname == nullptr) return {nullptr, "own location unknown"};
  std::error_code error;
  std::filesystem::path path =
      std::filesystem::absolute(here.dli_fname, error).parent_path() / "libsounder_onednn.so";
  if (!std::filesystem::exists(path, error)) return {nullptr, "built without libdnnl-dev"};
  // Never closed: oneDNN and libgomp keep state in threads that outlive any engine.
  void *object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) {
    const char *text = dlerror();
    return {nullptr, text ? text : "libsounder_onednn.so cannot be opened"};
  }
  auto get = reinterpret_cast<const OnednnPlugin *(*)()>(dlsym(object, kOnednnPluginSymbol));
  if (get == nullptr) return {nullptr, "libsounder_onednn.so is none of ours"};
  const OnednnPlugin *plugin = get();
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
