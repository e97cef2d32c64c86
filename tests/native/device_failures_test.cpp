// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong on a GPU is told, and nothing is lost that need not be. Only an emulated one fails when it
// is asked to (emulated_cuda/failures.h).
#include <cstdlib>
#include <string>

#include "device_small.h"

using namespace device_small;

namespace {

bool fails_when_asked() { return tiny::has_gpu() && tiny::is_emulated(); }

void allow(const char *what, int count) { setenv(what, std::to_string(count).c_str(), 1); }
void allow_all(const char *what) { unsetenv(what); }

constexpr const char *kAllocations = "SOUNDER_EMULATED_ALLOCATIONS", *kKernels = "SOUNDER_EMULATED_KERNELS";

int64_t free_memory(Engine &engine) {
  int64_t figures[SOUNDER_DEVICE_COUNT];
  CHECK(sounder_device_figures(engine.handle(), 0, figures, SOUNDER_DEVICE_COUNT) == SOUNDER_OK);
  return figures[SOUNDER_DEVICE_MEMORY_FREE];
}

StepResult next(Engine &engine, int32_t context, int32_t token) {
  return engine.step({sampling(context, {token})});
}

}  // namespace

TEST("memory that is refused amid a load is told, given back, and the load can be tried again") {
  if (!fails_when_asked()) return;
  Engine engine;
  const tiny::Model model = tiny::make_model(config_of(1));
  const int64_t before = free_memory(engine);
  int refused = 0, advised = 0;
  for (int allowed = 0;; ++allowed) {
    allow(kAllocations, allowed);
    const int32_t status = engine.load(model);
    if (status == SOUNDER_OK) break;
    ++refused;
    CHECK(status == SOUNDER_OUT_OF_MEMORY);
    CHECK(engine.error().rfind("The GPU failed to ", 0) == 0);
    CHECK(engine.error().find("out of memory") != std::string::npos);
    advised += engine.error().find("leave it a part") != std::string::npos ? 1 : 0;
    CHECK(free_memory(engine) == before);
  }
  allow_all(kAllocations);
  CHECK(refused >
        10);  // weights, workspace, slabs and records, pinned memory of a step and of the host layer
  CHECK(advised > 10);
  const int32_t context = prompt(engine);
  CHECK(next(engine, context, 3).statuses[0] == SOUNDER_OK);
}

TEST("where there is no memory to record steps, or to run them recorded, they run unrecorded") {
  if (!fails_when_asked()) return;
  Engine engine;
  CHECK(engine.load(tiny::make_model(config_of(0))) == SOUNDER_OK);
  constexpr int kAll = 2;  // before that: nothing, and a recorded step that cannot be launched
  std::vector<int32_t> tokens[kAll + 1];
  for (int allowed = 0; allowed <= kAll; ++allowed) {
    const int32_t context = prompt(engine);
    if (allowed < kAll) allow(kAllocations, allowed);
    for (int32_t token = 3, i = 0; i < 5; ++i) {
      const StepResult made = next(engine, context, token);
      CHECK(made.status == SOUNDER_OK && made.statuses[0] == SOUNDER_OK);
      tokens[allowed].push_back(token = made.sampled[0]);
    }
    allow_all(kAllocations);
  }
  for (int allowed = 0; allowed < kAll; ++allowed) CHECK(tokens[allowed] == tokens[kAll]);
}

// The last test: the device stays broken.
TEST("a GPU that fails for good is told apart, in the step, in forks and ever after") {
  if (!fails_when_asked()) return;
  Engine engine;
  CHECK(engine.load(tiny::make_model(config_of(0))) == SOUNDER_OK);
  const int32_t context = prompt(engine);
  CHECK(next(engine, context, 3).statuses[0] == SOUNDER_OK);
  allow(kKernels, 7);
  CHECK(next(engine, context, 4).status == SOUNDER_LOST);
  CHECK(engine.error().find("an illegal memory access") != std::string::npos);
  CHECK(engine.length(context) == kPromptTokens + 1);
  CHECK(next(engine, context, 4).status == SOUNDER_LOST);
  CHECK(sounder_context_fork(engine.handle(), context, 150) == SOUNDER_LOST);
  const int32_t fresh = engine.create();
  CHECK(engine.step({Sequence{fresh, {1, 2, 3}}}).status == SOUNDER_LOST);
  Engine other;
  CHECK(other.load(tiny::make_model(config_of(0))) == SOUNDER_LOST);
}
