// SPDX-License-Identifier: Apache-2.0
#include "engine_thread.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace sounder {

namespace {

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

void EngineThread::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return job_ != nullptr || ending_; });
    if (job_ == nullptr) return;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*job_)();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = std::move(failure);
    job_ = nullptr;
    // Unlocked, so that the caller does not wake up only to wait for the lock.
    lock.unlock();
    done_.notify_one();
    lock.lock();
  }
}

bool EngineThread::run(const std::function<void()> &job) {
  std::unique_lock lock(mutex_);
  if (busy_) return false;
  busy_ = true;
  stop_.store(stop_always_.load());
  job_ = &job;
  lock.unlock();
  wake_.notify_one();
  lock.lock();
  done_.wait(lock, [this] { return job_ == nullptr; });
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
