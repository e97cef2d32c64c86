// SPDX-License-Identifier: Apache-2.0
//
// The arguments of the calls about saved contexts.
#pragma once

#include <cstdint>
#include <string>

#include "saved/format.h"

namespace sounder {

// Fails with SOUNDER_INVALID when the arguments are missing or wrong. what: "saved context", for the
// sentence.
std::string read_path(const char *what, const uint8_t *path, int32_t path_bytes);
SavedIdentity read_identity(const uint8_t *identity);

struct SaveCall {
  int32_t context;
  int32_t tokens;
  std::string path;
  SavedIdentity identity;
  std::string note;
};

// Where a description goes; more than the capacities is cut.
struct DescriptionOut {
  int64_t *figures;  // [SOUNDER_SAVED_COUNT]
  uint8_t *note;
  int32_t note_capacity;
  int32_t *tokens;
  int32_t token_capacity;
};

}  // namespace sounder
