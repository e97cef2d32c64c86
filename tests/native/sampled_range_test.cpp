// SPDX-License-Identifier: Apache-2.0
//
// Which keys a token may choose from, and how many of them it reads.
#include "sampled/sampled_range.h"

#include "check.h"
#include "model.h"
#include "sounder.h"

using namespace sounder;

namespace {

SampledShape shape_of(int sink, int window, int least_rows) {
  SampledShape shape{};
  shape.sink = sink;
  shape.window = window;
  shape.least_rows = least_rows;
  return shape;
}

SampledParams asking(int attention, float budget) {
  SampledParams params{};
  params.attention = attention;
  params.budget = budget;
  return params;
}

constexpr int kSketch = SOUNDER_ATTENTION_SKETCH, kLsh = SOUNDER_ATTENTION_LSH;

}  // namespace

TEST("the tail is the shortest that has the window and begins with a block") {
  for (int window : {1, 63, 64, 65, 128, 200}) {
    const SampledShape shape = shape_of(4, window, 1);
    for (int position = 400; position < 800; ++position) {
      SampledRange range;
      CHECK(sampled_range(shape, asking(kSketch, 0.5f), position, 0, &range));
      const int tail = position + 1 - range.end;
      CHECK(range.begin == 4 && range.end % 128 == 0 && tail >= window && tail < window + 128);
    }
  }
}

TEST("a budget is a share of the keys to choose from, rounded up, and no less than the least rows") {
  const SampledParams some = asking(kSketch, 0.25f);
  SampledRange range;
  CHECK(sampled_range(shape_of(0, 64, 1), some, 1100, 0, &range) && range.end == 1024 && range.budget == 256);
  CHECK(sampled_range(shape_of(3, 64, 1), some, 1100, 0, &range) && range.budget == 256);  // of 1021
  CHECK(sampled_range(shape_of(5, 64, 1), some, 1100, 0, &range) && range.budget == 255);  // of 1019
  CHECK(sampled_range(shape_of(0, 64, 300), some, 1100, 0, &range) && range.budget == 300);
  CHECK(sampled_range(shape_of(0, 64, 1), asking(kSketch, 1e-6f), 1100, 0, &range) && range.budget == 1);
}

TEST("what would read everything is exact, and so is a context of no more keys than the least rows") {
  SampledRange range;
  CHECK(!sampled_range(shape_of(0, 64, 1), asking(kSketch, 1.0f), 1100, 0, &range));
  CHECK(!sampled_range(shape_of(0, 64, 1), asking(SOUNDER_ATTENTION_FULL, 0.1f), 1100, 0, &range));
  CHECK(!sampled_range(shape_of(4, 64, 1020), asking(kSketch, 0.1f), 1100, 0, &range));
  CHECK(sampled_range(shape_of(4, 64, 1019), asking(kSketch, 0.1f), 1100, 0, &range));
  CHECK(!sampled_range(shape_of(2000, 64, 1), asking(kSketch, 0.1f), 1100, 0, &range));
}

TEST("lsh chooses from what tables cover before the tail, whatever its budget") {
  const SampledShape shape = shape_of(4, 64, 1);
  SampledRange range;
  CHECK(!sampled_range(shape, asking(kLsh, 0.1f), 1100, 0, &range));
  CHECK(sampled_range(shape, asking(kLsh, 1.0f), 1100, 640, &range) && range.end == 640);
  CHECK(sampled_range(shape, asking(kLsh, 1.0f), 1100, 4096, &range) && range.end == 1024);
}

TEST("rows are exact up to the first token that may sample and has something to choose from") {
  const SampledShape shape = shape_of(4, 64, 1);
  SampledParams params = asking(kSketch, 0.1f);
  params.sampled_from = 300;
  CHECK(exact_rows(shape, params, 290, 20, 0) == 10);
  CHECK(exact_rows(shape, params, 300, 20, 0) == 0 && exact_rows(shape, params, 100, 20, 0) == 20);
  params.sampled_from = 100;  // position 191 is the first behind a block and a window
  CHECK(exact_rows(shape, params, 150, 100, 0) == 41);
}
