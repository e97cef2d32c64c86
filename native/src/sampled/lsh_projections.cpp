// SPDX-License-Identifier: Apache-2.0
#include "lsh_projections.h"

#include <cmath>
#include <numbers>

#include "../random.h"
#include "lsh_signature.h"

namespace sounder {

// Two independent normal values (Box and Muller 1958).
NormalPair lsh_projection(uint64_t seed, int projection, int pair) {
  constexpr uint64_t kRadius = 0, kAngle = 1;
  const uint64_t place = static_cast<uint64_t>(projection) << 32 | static_cast<uint64_t>(pair) << 1;
  const double u = 1.0 - random_uniform(random_bits(seed, 0x15a, place | kRadius));  // (0, 1]
  const double turn = random_uniform(random_bits(seed, 0x15a, place | kAngle));
  const double radius = std::sqrt(-2.0 * std::log(u)), angle = 2.0 * std::numbers::pi * turn;
  return {{radius * std::cos(angle), radius * std::sin(angle)}};
}

std::vector<float> lsh_plane_projections(int bits, int tables, int head_dim, uint64_t seed) {
  const LshSignature signature{head_dim, bits, tables};
  std::vector<float> values(static_cast<size_t>(signature.projection_floats()));
  for (int table = 0; table < tables; ++table)
    for (int bit = 0; bit < bits; ++bit) {
      float *column = values.data() + int64_t{table / 32 * bits + bit} * head_dim * 32 + table % 32;
      for (int k = 0; k < head_dim; ++k)
        column[int64_t{k} * 32] =
            static_cast<float>(lsh_projection(seed, table * bits + bit, k / 2).values[k % 2]);
    }
  return values;
}

}  // namespace sounder
