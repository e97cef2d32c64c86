// SPDX-License-Identifier: Apache-2.0
//
// The handle of the ABI, and the guard that every function of it runs under: no exception leaves the
// library; it becomes a status and its sentence is kept in the handle. Included by api*.cpp only.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>

#include "engine.h"
#include "failure.h"
#include "sounder.h"

// The text lies in a fixed array, so that keeping it cannot fail.
struct sounder_engine {
  sounder::Engine engine;

  std::mutex mutex;  // guards what follows
  char text[2048];
  int32_t text_bytes = 0;
  std::condition_variable idle;
  int blocking_calls = 0;
  bool closing = false;

  void keep_text(const char *sentence) noexcept {
    std::lock_guard lock(mutex);
    size_t bytes = std::min(std::strlen(sentence), sizeof text);
    // A character that does not fit whole is left out: continuation bytes are 10xxxxxx.
    if (sentence[bytes] != '\0') {
      while (bytes > 0 && (sentence[bytes] & 0xc0) == 0x80) --bytes;
    }
    std::memcpy(text, sentence, bytes);
    text_bytes = static_cast<int32_t>(bytes);
  }
};

namespace sounder {

template <typename Body>
int32_t guarded(sounder_engine *engine, const Body &body) {
  if (engine == nullptr) return SOUNDER_INVALID;
  try {
    return body();
  } catch (const Failure &failure) {
    engine->keep_text(failure.what());
    return failure.status();
  } catch (const std::bad_alloc &) {
    engine->keep_text("The system refused memory.");
    return SOUNDER_OUT_OF_MEMORY;
  } catch (const std::exception &failure) {
    engine->keep_text(failure.what());
    return SOUNDER_INTERNAL;
  } catch (...) {
    engine->keep_text("Something failed without saying what.");
    return SOUNDER_INTERNAL;
  }
}

// Counts the calls that sounder_close has to wait for.
class BlockingCall {
 public:
  explicit BlockingCall(sounder_engine *engine) : engine_(engine) {
    std::lock_guard lock(engine->mutex);
    if (engine->closing) fail(SOUNDER_BUSY, "The engine is being closed.");
    ++engine->blocking_calls;
  }
  ~BlockingCall() {
    std::lock_guard lock(engine_->mutex);
    --engine_->blocking_calls;
    engine_->idle.notify_all();
  }
  BlockingCall(const BlockingCall &) = delete;
  BlockingCall &operator=(const BlockingCall &) = delete;

 private:
  sounder_engine *engine_;
};

template <typename Body>
int32_t guarded_blocking(sounder_engine *engine, const Body &body) {
  return guarded(engine, [&] {
    BlockingCall call(engine);
    // The inner guard keeps the text while the call still counts.
    return guarded(engine, body);
  });
}

inline int32_t copy_text(const char *from, int32_t bytes, uint8_t *text, int32_t capacity) {
  if (text != nullptr && capacity > 0)
    std::memcpy(text, from, static_cast<size_t>(std::min(bytes, capacity)));
  return bytes;
}

}  // namespace sounder
