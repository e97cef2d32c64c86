// SPDX-License-Identifier: Apache-2.0
//
// The test frame itself: what a test says before it is ended by force.
#include "check.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

namespace {

constexpr const char *kEndsItself = "SOUNDER_TEST_ENDS_ITSELF";

// What this program prints to a pipe, with the variable set.
std::string output_of_itself() {
  char path[4096] = {};
  CHECK(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
  FILE *pipe = popen((std::string(kEndsItself) + "=1 exec '" + path + "'").c_str(), "r");
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  CHECK(pclose(pipe) != 0);
  return output;
}

}  // namespace

TEST("a test that came to its end is told with its time") {}

TEST("a test that is ended by force was named before") {
  if (std::getenv(kEndsItself) != nullptr) {
    std::printf("  half way\n");
    raise(SIGKILL);
  }
  const std::string output = output_of_itself();
  CHECK(output.find("ok   a test that came to its end is told with its time (0.0 s)\n") != std::string::npos);
  const std::string last = "run  a test that is ended by force was named before\n  half way\n";
  CHECK(output.size() > last.size() && output.substr(output.size() - last.size()) == last);
}
