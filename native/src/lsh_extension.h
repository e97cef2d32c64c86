// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "batch.h"
#include "failure.h"

namespace sounder {

// What a sequence keeps of its keys for lsh is extended; what cannot be had ends it, and not the others.
template <typename Body>
void end_where_it_fails(BatchSequence &sequence, const Body &body) {
  try {
    body();
  } catch (const Failure &failure) {
    sequence.failure = failure.status();
    sequence.problem = failure.what();
    sequence.cancelled = true;
  }
}

}  // namespace sounder
