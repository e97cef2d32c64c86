// SPDX-License-Identifier: Apache-2.0
//
// The one thread on which all loads and steps of an engine run, whatever threads the calls come from: so
// there is one team of workers, and its caches stay warm.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace sounder {

class EngineThread {
 public:
  EngineThread();
  // Waits for the running job and joins.
  ~EngineThread();

  // Runs job on the thread and returns when it ended; rethrows what it threw. False, and nothing runs, when
  // another job is running.
  bool run(const std::function<void()> &job);

  // Raises the stop flag of the running job, if there is one. The flag is down when a job starts.
  void stop();
  // Raises it for good, so that jobs that start later end at once too.
  void stop_for_good();
  const std::atomic<bool> &stop_flag() const { return stop_; }

 private:
  void loop();
  void look_out() const;

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<const std::function<void()> *> job_{nullptr};  // written under the mutex
  bool busy_ = false;
  bool ending_ = false;
  std::exception_ptr failure_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> stop_always_{false};
  std::thread thread_;  // last: it starts when all the rest is there
};

}  // namespace sounder
