// SPDX-License-Identifier: Apache-2.0
//
// The functions of the ABI about saved contexts.
#include "api_guard.h"

using sounder::guarded;
using sounder::guarded_blocking;
using sounder::read_identity;
using sounder::read_path;

extern "C" {

int32_t sounder_context_save(sounder_engine *engine, int32_t context, int32_t tokens, const uint8_t *path,
                             int32_t path_bytes, const uint8_t *identity, const uint8_t *note,
                             int32_t note_bytes) {
  return guarded_blocking(engine, [&] {
    if (note_bytes < 0 || note_bytes > SOUNDER_MAX_NOTE_BYTES || (note_bytes > 0 && note == nullptr)) {
      sounder::fail(SOUNDER_INVALID, "The note of a saved context is missing or over %d bytes.",
                    SOUNDER_MAX_NOTE_BYTES);
    }
    sounder::SaveCall call{context, tokens, read_path("saved context", path, path_bytes),
                           read_identity(identity), ""};
    if (note_bytes > 0)
      call.note.assign(reinterpret_cast<const char *>(note), static_cast<size_t>(note_bytes));
    engine->engine.save_context(call);
    return SOUNDER_OK;
  });
}

int32_t sounder_context_restore(sounder_engine *engine, int32_t tokens, const uint8_t *path,
                                int32_t path_bytes, const uint8_t *identity) {
  return guarded_blocking(engine, [&] {
    return engine->engine.restore_context(tokens, read_path("saved context", path, path_bytes),
                                          read_identity(identity));
  });
}

int32_t sounder_saved_describe(sounder_engine *engine, const uint8_t *path, int32_t path_bytes,
                               const uint8_t *identity, int64_t *figures, int32_t figure_count, uint8_t *note,
                               int32_t note_capacity, int32_t *tokens, int32_t token_capacity) {
  return guarded_blocking(engine, [&] {
    if (figures == nullptr || figure_count != SOUNDER_SAVED_COUNT)
      sounder::fail(SOUNDER_INVALID, "There are %d figures of a saved context, not %d.", SOUNDER_SAVED_COUNT,
                    figure_count);
    sounder::DescriptionOut out{figures, note, note == nullptr ? 0 : std::max(0, note_capacity), tokens,
                                tokens == nullptr ? 0 : std::max(0, token_capacity)};
    engine->engine.describe_saved(read_path("saved context", path, path_bytes), read_identity(identity), out);
    return SOUNDER_OK;
  });
}

int32_t sounder_transfer_cancel(sounder_engine *engine) {
  return guarded(engine, [&] {
    engine->engine.cancel_transfer();
    return SOUNDER_OK;
  });
}

int32_t sounder_transfer_progress(sounder_engine *engine) {
  return guarded(engine, [&] { return engine->engine.transfer_progress(); });
}

}  // extern "C"
