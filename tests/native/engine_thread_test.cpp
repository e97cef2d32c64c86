// SPDX-License-Identifier: Apache-2.0
#include "engine_thread.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "processor_time.h"

using sounder::EngineThread;

namespace {

void sleep_microseconds(int microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

}  // namespace

TEST("jobs run on one thread, whatever threads they come from and however long it waited for them") {
  EngineThread engine;
  std::vector<std::thread::id> threads;
  for (int i = 0; i < 60; ++i) {
    sleep_microseconds(i % 3 * 400);  // it still looks out, or sleeps
    std::thread caller([&] {
      CHECK(engine.run([&] { threads.push_back(std::this_thread::get_id()); }));
      CHECK(threads.size() == static_cast<size_t>(i + 1));  // it ended before run returned
    });
    caller.join();
  }
  for (std::thread::id thread : threads) CHECK(thread == threads[0] && thread != std::this_thread::get_id());
}

TEST("a job that comes while another runs is refused, and runs when it comes again") {
  EngineThread engine;
  std::atomic<bool> is_running{false}, may_end{false};
  std::thread first([&] {
    CHECK(engine.run([&] {
      is_running = true;
      while (!may_end) std::this_thread::yield();
    }));
  });
  while (!is_running) std::this_thread::yield();
  bool ran = false;
  CHECK(!engine.run([&] { ran = true; }));
  may_end = true;
  first.join();
  CHECK(!ran);
  CHECK(engine.run([&] { ran = true; }));
  CHECK(ran);
}

TEST("what a job throws is thrown to its caller, and to no other") {
  EngineThread engine;
  std::string caught;
  try {
    engine.run([] { throw std::runtime_error("this one"); });
  } catch (const std::runtime_error &error) {
    caught = error.what();
  }
  CHECK(caught == "this one");
  CHECK(engine.run([] {}));
}

TEST("the stop flag is of the job that runs, and stays up for good when that is asked") {
  EngineThread engine;
  engine.stop();  // nothing runs
  CHECK(engine.run([&] {
    CHECK(!engine.stop_flag());
    engine.stop();
    CHECK(engine.stop_flag());
  }));
  CHECK(engine.run([&] { CHECK(!engine.stop_flag()); }));
  engine.stop_for_good();
  CHECK(engine.run([&] { CHECK(engine.stop_flag()); }));
}

TEST("between jobs it takes a moment's processor time, and none afterwards") {
  EngineThread engine;
  double least = 1;
  for (int attempt = 0; attempt < 5 && least >= 0.005; ++attempt) {
    CHECK(engine.run([] {}));
    const double before = cpu_seconds();
    sleep_microseconds(100'000);
    least = std::min(least, cpu_seconds() - before);
  }
  CHECK(least < 0.005);
}
