// SPDX-License-Identifier: Apache-2.0
//
// What one step computes, as the engine hands it to the transformer.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "capture.h"
#include "sampled/lsh.h"
#include "sampled/params.h"
#include "sounder.h"
#include "stages.h"
#include "token_choice.h"

namespace sounder {

struct BatchSequence {
  int index;              // in the arrays of the call
  int first_token;        // of its new tokens in the arrays of the call
  int count;              // new tokens
  int position;           // tokens of the context before them
  const int32_t *blocks;  // of the context, the new ones included
  const std::atomic<bool> *cancel;
  bool sample;
  bool score;
  SampledParams params;
  LshTables *lsh;  // of the context; nullptr unless it attends with them
  int lsh_until;   // keys that they cover after this step
  float
      *hidden;  // [C] out: the sum of its new tokens' hidden states after the final norm; nullptr: not asked

  int32_t context = 0;  // its id
  // Where nothing is asked of its last token's logits but the next token: how that is chosen.
  std::optional<TokenChoice> choice = {};

  // The forward's: the rows that it still computes are the last ones of the new tokens.
  int first_row = 0;
  int rows = 0;
  bool cancelled = false;
  int32_t failure = SOUNDER_OK;  // why it was dropped, when nobody cancelled it
  std::string problem = {};
  int sampled_from = INT32_MAX;       // position of the first row that sampled in some layer
  SampledStatistics statistics = {};  // of the last row
  int layers_verified = 0;
  std::optional<ChosenToken> chosen = {};  // where a device found it: its logits are not handed on then
  int hidden_tokens = 0;                   // that are in `hidden`

  // Whether anybody asks what follows this token of the call.
  bool wants_logits(int token) const { return score || (sample && token == first_token + count - 1); }
};

struct Batch {
  std::vector<BatchSequence> sequences;
  std::vector<int32_t> tokens;  // [T] of the call, -1 resolved
  const std::atomic<bool> *stop = nullptr;
  std::atomic<int32_t> *thousandths = nullptr;
  Capture *capture = nullptr;
  StageClock clock;
  bool tells_stages = false;  // on a device too

  // The forward's, by row.
  std::vector<int32_t> row_sequence;  // index into sequences
  std::vector<int32_t> row_token;     // index into tokens
};

}  // namespace sounder
