// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sounder {

// Mean over heads of |sampled - exact|² / |exact|², of outputs [heads * head_dim].
inline double output_error(const float *sampled, const float *exact, int heads, int head_dim) {
  double sum = 0;
  for (int head = 0; head < heads; ++head, sampled += head_dim, exact += head_dim) {
    double difference = 0, size = 0;
    for (int i = 0; i < head_dim; ++i) {
      difference += (double{sampled[i]} - exact[i]) * (double{sampled[i]} - exact[i]);
      size += double{exact[i]} * exact[i];
    }
    if (size > 0) sum += difference / size;
  }
  return sum / heads;
}

}  // namespace sounder
