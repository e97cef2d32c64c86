// SPDX-License-Identifier: Apache-2.0
#include "fibers.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

// ucontext asks the kernel at every change, which costs most of the time that a block takes. Sanitizers know
// it, and other stacks they don't.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define SOUNDER_OWN_SWITCH 1
#else
#define SOUNDER_OWN_SWITCH 0
#include <ucontext.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
namespace {

constexpr size_t kStackBytes = 128 << 10;

void run_thread();

#if SOUNDER_OWN_SWITCH

// Saves the callee's registers of the System V ABI on the stack that is left, and takes those of the other
// one.
extern "C" void sounder_emulated_switch(void **left, void *taken);
asm(R"(
.text
.type sounder_emulated_switch, @function
.hidden sounder_emulated_switch
.globl sounder_emulated_switch
sounder_emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sounder_emulated_switch, . - sounder_emulated_switch
)");

struct Context {
  void *top = nullptr;
  void begin(char *stack) {
    // Aligned as after a call: a multiple of 16 less the return address.
    char *end = reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(stack) + kStackBytes) & ~uintptr_t{15});
    void **words = reinterpret_cast<void **>(end) - 2;
    *words = reinterpret_cast<void *>(run_thread);
    top = words - 6;
  }
};
void change(Context &from, Context &to) { sounder_emulated_switch(&from.top, to.top); }

#else

struct Context {
  ucontext_t context;
  void begin(char *stack) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, run_thread, 0);
  }
};
void change(Context &from, Context &to) { swapcontext(&from.context, &to.context); }

#endif

// Where threads meet. Values lie in two sets in turn: nobody can be two meetings ahead of another.
struct Meeting {
  int expected = 0, arrived = 0;
  unsigned count = 0;
};
struct Warp {
  Meeting meeting;
  Slot slots[2][32];
};
struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack;
  // The meeting that it waits for, and its count until then.
  const Meeting *awaited;
  unsigned count;
  bool is_done;
  bool can_run() const { return !is_done && (awaited == nullptr || awaited->count != count); }
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Meeting all;
  Context scheduler;
  unsigned threads = 0, current = 0, running = 0;
  uint64_t number = 0;
  const std::function<void()> *body = nullptr;
  std::vector<char> shared;
};
Block block;

// Another order in every second block, so that a barrier that is missing shows.
unsigned after(unsigned thread) {
  if (blockIdx.x % 2 == 0) return thread + 1 == block.threads ? 0 : thread + 1;
  return thread == 0 ? block.threads - 1 : thread - 1;
}

// Goes on with the next thread that can.
void yield() {
  const unsigned own = block.current;
  unsigned next = after(own);
  for (unsigned tried = 0; !block.fibers[next].can_run(); next = after(next)) {
    if (++tried < block.threads) continue;
    std::fprintf(stderr, "the threads of a block wait for each other\n");
    std::abort();
  }
  if (next == own) return;
  block.current = next;
  threadIdx = {next, 0, 0};
  change(block.fibers[own].context, block.fibers[next].context);
}

template <typename Last>
void meet(Meeting &meeting, const Last &last) {
  if (++meeting.arrived == meeting.expected) {
    last();
    meeting.arrived = 0;
    ++meeting.count;
    return;
  }
  Fiber &own = block.fibers[block.current];
  own.awaited = &meeting;
  own.count = meeting.count;
  yield();
  own.awaited = nullptr;
}

void run_thread() {
  (*block.body)();
  Fiber &own = block.fibers[block.current];
  own.is_done = true;
  --block.all.expected;
  if (block.all.expected > 0 && block.all.arrived == block.all.expected) {
    block.all.arrived = 0;
    ++block.all.count;
  }
  if (--block.running == 0) change(own.context, block.scheduler);
  yield();
}

void prepare_fibers() {
  while (block.fibers.size() < block.threads) {
    block.fibers.emplace_back();
    block.fibers.back().stack = std::make_unique<char[]>(kStackBytes);
  }
  block.warps.resize(block.threads / 32);
  for (Warp &warp : block.warps) warp.meeting = {32, 0, 0};
  block.all = {static_cast<int>(block.threads), 0, 0};
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber &fiber = block.fibers[i];
    fiber.awaited = nullptr;
    fiber.is_done = false;
    fiber.context.begin(fiber.stack.get());
  }
}

void run_block() {
  prepare_fibers();
  block.running = block.threads;
  block.current = after(block.threads - 1);
  threadIdx = {block.current, 0, 0};
  change(block.scheduler, block.fibers[block.current].context);
  ++block.number;
}

}  // namespace

void meet_block() {
  meet(block.all, [] {});
}

int lane() { return static_cast<int>(block.current % 32); }

Slot *slots_of_warp() {
  Warp &warp = block.warps[block.current / 32];
  return warp.slots[warp.meeting.count % 2];
}

void meet_warp(void (*combine)(Slot *values)) {
  Warp &warp = block.warps[block.current / 32];
  meet(warp.meeting, [&] {
    if (combine != nullptr) combine(warp.slots[warp.meeting.count % 2]);
  });
}

uint64_t block_number() { return block.number; }

char *shared_memory() { return block.shared.data(); }

void run_grid(dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()> &body) {
  if (threads % 32 != 0) std::abort();
  block.body = &body;
  block.threads = threads;
  // Whatever the block before left: shared memory is not zeros.
  block.shared.assign(shared_bytes + 128, '\x7b');
  gridDim = grid;
  blockDim = {threads, 1, 1};
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block();
      }
}

}  // namespace emulated
