// SPDX-License-Identifier: Apache-2.0
//
// The functions of the ABI, but those about saved contexts (api_saved.cpp).
#include "api_guard.h"
#include "cuda/loader.h"

using sounder::copy_text;
using sounder::guarded;
using sounder::guarded_blocking;

extern "C" {

int32_t sounder_abi_version(void) { return SOUNDER_ABI_VERSION; }

sounder_engine *sounder_create(void) {
  try {
    return new sounder_engine;
  } catch (...) {
    return nullptr;
  }
}

void sounder_close(sounder_engine *engine) {
  if (engine == nullptr) return;
  {
    std::unique_lock lock(engine->mutex);
    engine->closing = true;
    engine->engine.stop_for_good();
    engine->idle.wait(lock, [&] { return engine->blocking_calls == 0; });
  }
  delete engine;
}

int32_t sounder_error_text(sounder_engine *engine, uint8_t *text, int32_t capacity) {
  if (engine == nullptr) return SOUNDER_INVALID;
  std::lock_guard lock(engine->mutex);
  return copy_text(engine->text, engine->text_bytes, text, capacity);
}

int32_t sounder_configure(sounder_engine *engine, const int32_t *ints, int32_t int_count, const float *floats,
                          int32_t float_count, const float *rope_frequencies, int32_t frequency_count) {
  return guarded(engine, [&] {
    engine->engine.configure(ints, int_count, floats, float_count, rope_frequencies, frequency_count);
    return SOUNDER_OK;
  });
}

int32_t sounder_dense_layers(sounder_engine *engine, const int32_t *layers, int32_t count) {
  return guarded(engine, [&] {
    engine->engine.set_dense_layers(layers, count);
    return SOUNDER_OK;
  });
}

int32_t sounder_add_file(sounder_engine *engine, const uint8_t *path, int32_t path_bytes) {
  return guarded(engine, [&] { return engine->engine.add_file(path, path_bytes); });
}

int32_t sounder_add_tensors(sounder_engine *engine, int32_t count, const int32_t *roles,
                            const int32_t *layers, const int32_t *files, const int32_t *types,
                            const int32_t *rows, const int32_t *columns, const int32_t *interleaved_heads,
                            const int64_t *offsets) {
  return guarded(engine, [&] {
    bool missing = roles == nullptr || layers == nullptr || files == nullptr || types == nullptr ||
                   rows == nullptr || columns == nullptr || interleaved_heads == nullptr ||
                   offsets == nullptr;
    if (count < 0 || (count > 0 && missing)) {
      sounder::fail(SOUNDER_INVALID, "The number of tensors is %d, or an array of theirs is missing.", count);
    }
    std::vector<sounder::TensorPlace> places;
    for (int32_t i = 0; i < count; ++i) {
      places.push_back(
          {roles[i], layers[i], files[i], types[i], rows[i], columns[i], interleaved_heads[i], offsets[i]});
    }
    engine->engine.add_tensors(places);
    return SOUNDER_OK;
  });
}

int32_t sounder_load(sounder_engine *engine) {
  return guarded_blocking(engine, [&] {
    engine->engine.load();
    return SOUNDER_OK;
  });
}

int32_t sounder_load_progress(sounder_engine *engine) {
  return guarded(engine, [&] { return engine->engine.load_progress(); });
}

int32_t sounder_stop(sounder_engine *engine) {
  return guarded(engine, [&] {
    engine->engine.stop();
    return SOUNDER_OK;
  });
}

int32_t sounder_info_figures(sounder_engine *engine, int64_t *figures, int32_t count) {
  return guarded(engine, [&] {
    if (figures == nullptr || count != SOUNDER_INFO_COUNT) {
      sounder::fail(SOUNDER_INVALID, "There are %d figures to ask for, not %d.", SOUNDER_INFO_COUNT, count);
    }
    engine->engine.info_figures(figures);
    return SOUNDER_OK;
  });
}

int32_t sounder_device_figures(sounder_engine *engine, int32_t device, int64_t *figures, int32_t count) {
  return guarded(engine, [&] {
    if (figures == nullptr || count != SOUNDER_DEVICE_COUNT || device < 0) {
      sounder::fail(SOUNDER_INVALID, "There are %d figures to ask for of a GPU from 0 up, not %d of GPU %d.",
                    SOUNDER_DEVICE_COUNT, count, device);
    }
    const sounder::DeviceMemory memory = sounder::cuda_device_memory(device);
    figures[SOUNDER_DEVICE_MEMORY_TOTAL] = memory.total;
    figures[SOUNDER_DEVICE_MEMORY_FREE] = memory.free;
    return SOUNDER_OK;
  });
}

int32_t sounder_info_text(sounder_engine *engine, uint8_t *text, int32_t capacity) {
  return guarded(engine, [&] {
    std::string line = engine->engine.info_text();
    return copy_text(line.data(), static_cast<int32_t>(line.size()), text, capacity);
  });
}

int32_t sounder_context_create(sounder_engine *engine) {
  return guarded(engine, [&] { return engine->engine.create_context(); });
}

int32_t sounder_context_fork(sounder_engine *engine, int32_t context, int32_t tokens) {
  return guarded(engine, [&] { return engine->engine.fork_context(context, tokens); });
}

int32_t sounder_context_truncate(sounder_engine *engine, int32_t context, int32_t tokens) {
  return guarded(engine, [&] {
    engine->engine.truncate_context(context, tokens);
    return SOUNDER_OK;
  });
}

int32_t sounder_context_free(sounder_engine *engine, int32_t context) {
  return guarded(engine, [&] {
    engine->engine.free_context(context);
    return SOUNDER_OK;
  });
}

int32_t sounder_context_length(sounder_engine *engine, int32_t context) {
  return guarded(engine, [&] { return engine->engine.context_length(context); });
}

int32_t sounder_context_exact(sounder_engine *engine, int32_t context) {
  return guarded(engine, [&] { return engine->engine.exact_tokens(context); });
}

int32_t sounder_step(sounder_engine *engine, int32_t sequences, const int32_t *contexts,
                     const int32_t *token_counts, const int32_t *tokens, const int32_t *ints,
                     const float *floats, const int32_t *bias_tokens, const float *bias_values,
                     int32_t bias_count, const uint32_t *allowed_tokens, int32_t allowed_rows,
                     int32_t *statuses, int32_t *sampled, float *sampled_logprobs, int32_t *top_tokens,
                     float *top_logprobs, float *given_logprobs, int32_t *given_top_tokens,
                     float *given_top_logprobs, float *statistics, float *stage_ms) {
  return guarded_blocking(engine, [&] {
    std::string problem =
        engine->engine.step({sequences,      contexts,         token_counts,       tokens,
                             ints,           floats,           bias_tokens,        bias_values,
                             bias_count,     allowed_tokens,   allowed_rows,       statuses,
                             sampled,        sampled_logprobs, top_tokens,         top_logprobs,
                             given_logprobs, given_top_tokens, given_top_logprobs, statistics,
                             stage_ms});
    if (!problem.empty()) engine->keep_text(problem.c_str());
    return SOUNDER_OK;
  });
}

int32_t sounder_cancel(sounder_engine *engine, int32_t context) {
  return guarded(engine, [&] {
    engine->engine.cancel(context);
    return SOUNDER_OK;
  });
}

int32_t sounder_progress(sounder_engine *engine, int32_t context) {
  return guarded(engine, [&] { return engine->engine.progress(context); });
}

int32_t sounder_capture_enable(sounder_engine *engine, int32_t enabled) {
  return guarded(engine, [&] {
    engine->engine.enable_capture(enabled != 0);
    return SOUNDER_OK;
  });
}

int32_t sounder_step_hidden(sounder_engine *engine, int32_t sequence, float *values, int32_t capacity) {
  return guarded(engine, [&] { return engine->engine.read_hidden(sequence, values, capacity); });
}

int32_t sounder_capture_read(sounder_engine *engine, int32_t what, int32_t layer, float *values,
                             int32_t capacity) {
  return guarded(engine, [&] {
    if (capacity < 0 || (capacity > 0 && values == nullptr)) {
      sounder::fail(SOUNDER_INVALID, "The buffer for captured values is missing.");
    }
    return engine->engine.read_capture(what, layer, values, capacity);
  });
}

int32_t sounder_attend(sounder_engine *engine, int32_t context, int32_t layer, const int32_t *ints,
                       const float *floats, const float *q, float *output, float *statistics, float *scores) {
  return guarded_blocking(engine, [&] {
    engine->engine.attend({context, layer, ints, floats, q, output, statistics, scores});
    return SOUNDER_OK;
  });
}

int32_t sounder_context_fill(sounder_engine *engine, int32_t context, int32_t tokens, int32_t seed) {
  return guarded_blocking(engine, [&] {
    engine->engine.fill_context(context, tokens, seed);
    return SOUNDER_OK;
  });
}

}  // extern "C"
