// SPDX-License-Identifier: Apache-2.0
//
// Logits of an engine beside those of the reference.
#pragma once

#include <algorithm>

#include "check.h"
#include "forward_reference.h"
#include "test_engine.h"

namespace tiny {

inline double largest_difference(const std::vector<float> &values, const Doubles &expected) {
  if (values.size() != expected.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double difference = std::fabs(values[i] - expected[i]);
    largest = difference <= largest ? largest : difference;  // NaN becomes the largest
    if (std::isnan(difference)) return INFINITY;
  }
  return largest;
}

inline double deviation(const Doubles &values) {
  double sum = 0, squares = 0;
  for (double value : values) sum += value, squares += value * value;
  double mean = sum / double(values.size());
  return std::sqrt(squares / double(values.size()) - mean * mean);
}

// Feeds tokens to a new context in pieces and returns all logits.
inline std::vector<float> logits_in_pieces(Engine &engine, const std::vector<int32_t> &tokens,
                                           const std::vector<int> &pieces) {
  sounder_capture_enable(engine.handle(), 1);
  int32_t context = engine.create();
  std::vector<float> all;
  size_t done = 0;
  for (size_t i = 0; done < tokens.size(); ++i) {
    size_t count = std::min(size_t(pieces[i % pieces.size()]), tokens.size() - done);
    std::vector<int32_t> part(tokens.begin() + done, tokens.begin() + done + count);
    StepResult result = engine.step({Sequence{context, part}});
    CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
    std::vector<float> logits = engine.captured(SOUNDER_CAPTURE_LOGITS);
    all.insert(all.end(), logits.begin(), logits.end());
    done += count;
  }
  sounder_capture_enable(engine.handle(), 0);
  CHECK(engine.length(context) == int(tokens.size()));
  sounder_context_free(engine.handle(), context);
  return all;
}

}  // namespace tiny
