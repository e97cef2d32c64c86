// SPDX-License-Identifier: Apache-2.0
//
// What a GPU has in place of hash tables: the codes of each key in all tables, its signature, which the
// query's is held against. Signatures of 128 keys lie together, for each layer and KV head, in a place of
// their own: unlike records (index.h) they belong to a context, on whose mean its keys are centred. A place:
//   planes         uint32[words][bits][128]: bit t % 32 of word t / 32 of plane b is bit b of the key's code
//                  in table t; those beyond the last table are 0
//   inverse norms  uint16[128]      bf16 of 1 / |x_i|, 0 for a key that counts as the mean itself
//   mean           float[head_dim]  in the first place of a context: what all its keys are centred on
#pragma once

#include <cstdint>

#include "index.h"

namespace sounder {

struct LshSignature {
  int head_dim, bits, tables;  // bits 0: there are none
  constexpr int words() const { return (tables + 31) / 32; }
  constexpr int planes() const { return bits * words(); }  // words of a key
  constexpr int64_t norms_place() const { return int64_t{4} * kIndexTokens * planes(); }
  constexpr int64_t mean_place() const { return norms_place() + 2 * kIndexTokens; }
  // Of a place, whole lines.
  constexpr int64_t bytes() const { return (mean_place() + int64_t{4} * head_dim + 255) / 256 * 256; }
  constexpr int64_t projection_floats() const { return int64_t{32} * planes() * head_dim; }
};

}  // namespace sounder
