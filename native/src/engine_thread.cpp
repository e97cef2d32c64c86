// SPDX-License-Identifier: Apache-2.0
#include "engine_thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <utility>

namespace sounder {

namespace {

// How long the thread looks out for the next job before it sleeps: between two steps of a decode the host
// works for 0.1 to 0.3 ms, and to wake a sleeper on another core takes some 50 µs in a virtual machine. It
// yields all the while, so that whoever has work for its core gets it.
constexpr std::chrono::microseconds kLookOut{300};

// Threads of the library, the team's included, take no signals: those belong to the host's own threads.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

EngineThread::EngineThread() {
  SignalsBlocked blocked;
  thread_ = std::thread([this] { loop(); });
  pthread_setname_np(thread_.native_handle(), "sounder");
}

EngineThread::~EngineThread() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void EngineThread::look_out() const {
  const auto end = std::chrono::steady_clock::now() + kLookOut;
  while (job_.load() == nullptr && std::chrono::steady_clock::now() < end) sched_yield();
}

void EngineThread::loop() {
  while (true) {
    look_out();
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return job_.load() != nullptr || ending_; });
    const std::function<void()> *job = job_.load();
    if (job == nullptr) return;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*job)();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = std::move(failure);
    job_.store(nullptr);
    // Unlocked, so that the caller does not wake up only to wait for the lock.
    lock.unlock();
    done_.notify_one();
  }
}

bool EngineThread::run(const std::function<void()> &job) {
  std::unique_lock lock(mutex_);
  if (busy_) return false;
  busy_ = true;
  stop_.store(stop_always_.load());
  job_.store(&job);
  lock.unlock();
  wake_.notify_one();
  lock.lock();
  done_.wait(lock, [this] { return job_.load() == nullptr; });
  busy_ = false;
  std::exception_ptr failure = std::exchange(failure_, nullptr);
  if (failure != nullptr) std::rethrow_exception(failure);
  return true;
}

void EngineThread::stop() {
  std::lock_guard lock(mutex_);
  if (busy_) stop_.store(true);
}

void EngineThread::stop_for_good() {
  std::lock_guard lock(mutex_);
  stop_always_.store(true);
  stop_.store(true);
}

}  // namespace sounder
