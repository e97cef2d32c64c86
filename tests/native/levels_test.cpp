// SPDX-License-Identifier: Apache-2.0
//
// How an instruction level is chosen. (That the levels' objects are safe to link is level_objects.sh.)
#include <cstdlib>
#include <string>

#include "check.h"
#include "cpu/kernels.h"

namespace {

const sounder::Kernels *choose(const char *wanted, std::string *problem) {
  if (wanted == nullptr) {
    unsetenv("SOUNDER_CPU");
  } else {
    setenv("SOUNDER_CPU", wanted, 1);
  }
  const char *text = nullptr;
  const sounder::Kernels *level = sounder::choose_level(&text);
  unsetenv("SOUNDER_CPU");
  *problem = text ? text : "";
  return level;
}

bool usable(const std::string &name) {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  for (int i = 0; i < count; ++i) {
    if (name == levels[i]->name) return true;
  }
  return false;
}

}  // namespace

TEST("without SOUNDER_CPU, or with an empty one, the best level is taken") {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  std::string problem;
  CHECK(choose(nullptr, &problem) == levels[0] && problem.empty());
  CHECK(choose("", &problem) == levels[0] && problem.empty());
}

TEST("SOUNDER_CPU forces each level that can run, and says why another cannot") {
  for (const char *name : {"scalar", "avx2", "avx512", "amx"}) {
    std::string problem;
    const sounder::Kernels *level = choose(name, &problem);
    if (usable(name)) {
      CHECK(level != nullptr && std::string(level->name) == name);
      CHECK(problem.empty());
    } else {
      CHECK(level == nullptr);
      CHECK(problem.find(name) != std::string::npos);
      CHECK(problem.find("this machine lacks") != std::string::npos);
      CHECK(problem.find("scalar") != std::string::npos);  // names what can be had
    }
  }
}

TEST("an unknown level is refused with a sentence that names it and the ones there are") {
  for (const char *name : {"AVX2", "avx", "neon", "fast please"}) {
    std::string problem;
    CHECK(choose(name, &problem) == nullptr);
    CHECK(problem.find(name) != std::string::npos);
    CHECK(problem.find("is no instruction level") != std::string::npos);
    CHECK(problem.find("scalar") != std::string::npos);
  }
}

TEST("tiles are granted to the amx level, and the answer stays the same") {
  bool granted = sounder::enable_amx();
  CHECK(granted == sounder::enable_amx());
  if (usable("amx")) CHECK(granted);
}
