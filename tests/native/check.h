// SPDX-License-Identifier: Apache-2.0
//
// The smallest test frame that says what failed: TEST("sentence") { ... } with CHECK and CHECK_NEAR.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

namespace check {

struct Test {
  const char *sentence;
  void (*body)();
};
inline std::vector<Test> &tests() {
  static std::vector<Test> all;
  return all;
}
inline int &failures() {
  static int count = 0;
  return count;
}
struct Register {
  Register(const char *sentence, void (*body)()) { tests().push_back({sentence, body}); }
};
inline void fail(const char *file, int line, const char *what) {
  std::printf("  %s:%d: %s\n", file, line, what);
  ++failures();
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(sentence)                                                                           \
  static void CHECK_JOIN(test_, __LINE__)();                                                     \
  static check::Register CHECK_JOIN(register_, __LINE__)(sentence, CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()

#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) check::fail(__FILE__, __LINE__, #condition); \
  } while (0)

#define CHECK_NEAR(actual, expected, tolerance)                                                      \
  do {                                                                                               \
    double check_a = (actual), check_e = (expected), check_t = (tolerance);                          \
    if (!(std::fabs(check_a - check_e) <= check_t)) {                                                \
      char check_text[256];                                                                          \
      std::snprintf(check_text, sizeof check_text, "%s is %.9g, expected %.9g within %.3g", #actual, \
                    check_a, check_e, check_t);                                                      \
      check::fail(__FILE__, __LINE__, check_text);                                                   \
    }                                                                                                \
  } while (0)

// Names each test before it runs, to pipes and files too: whoever ends what takes too long sees which it was.
int main() {
  using Clock = std::chrono::steady_clock;
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  int failed_tests = 0;
  for (const check::Test &test : check::tests()) {
    std::printf("run  %s\n", test.sentence);
    const int before = check::failures();
    const Clock::time_point start = Clock::now();
    test.body();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const bool ok = check::failures() == before;
    failed_tests += ok ? 0 : 1;
    std::printf("%s %s (%.1f s)\n", ok ? "ok  " : "FAIL", test.sentence, seconds);
  }
  std::printf("%zu passed, %d failed\n", check::tests().size() - failed_tests, failed_tests);
  return failed_tests == 0 ? 0 : 1;
}
