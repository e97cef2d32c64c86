// SPDX-License-Identifier: Apache-2.0
#include "sampled_passes.h"

#include <algorithm>

namespace sounder {

namespace {

int chunks_of(const View &view, int pass) {
  const bool is_whole = pass < view.phases && !view.strategy->is_segmented(pass);
  return (is_whole ? 1 : view.segments) + (pass == 0 ? 1 : 0);
}

}  // namespace

SampledPasses::SampledPasses(int most_views)
    : progress_(std::make_unique<Progress[]>(static_cast<size_t>(most_views) * (kMostPhases + 1))) {
  pieces_.reserve(static_cast<size_t>(most_views) * (kMostPhases + 1));
}

int SampledPasses::plan(std::vector<View> &views) {
  pieces_.clear();
  failed_.store(false);
  int chunks = 0;
  bool more = true;
  for (int pass = 0; more; ++pass) {
    more = false;
    for (View &view : views) {
      if (pass > view.phases) continue;
      const int index = static_cast<int>(pieces_.size());
      pieces_.push_back({&view, pass, chunks, chunks_of(view, pass), view.piece});
      view.piece = index;
      chunks += pieces_.back().chunks;
      progress_[index].chunks.store(0, std::memory_order_relaxed);
      progress_[index].ended.close();
      for (int i = 0; i < pieces_.back().chunks; ++i)
        progress_[index].taker[i].store(-1, std::memory_order_relaxed);
      more |= pass < view.phases;
    }
  }
  return chunks;
}

int SampledPasses::piece_of(int chunk) const {
  const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), chunk,
                                      [](int i, const Piece &piece) { return i < piece.first_chunk; });
  return static_cast<int>(after - pieces_.begin()) - 1;
}

int SampledPasses::claim(int index, int thread) {
  const Piece &piece = pieces_[static_cast<size_t>(index)];
  std::atomic<int16_t> *taker = progress_[index].taker;
  const auto take = [&](int chunk) {
    int16_t nobody = -1;
    return taker[chunk].load(std::memory_order_relaxed) < 0 &&
           taker[chunk].compare_exchange_strong(nobody, static_cast<int16_t>(thread),
                                                std::memory_order_relaxed);
  };
  if (piece.before >= 0) {
    const std::atomic<int16_t> *before = progress_[piece.before].taker;
    const int common = std::min(piece.chunks, pieces_[static_cast<size_t>(piece.before)].chunks);
    for (int i = 0; i < common; ++i)
      if (before[i].load(std::memory_order_relaxed) == thread && take(i)) return i;
  }
  for (int i = piece.chunks - 1;; i = i == 0 ? piece.chunks - 1 : i - 1)
    if (take(i)) return i;
}

// Nobody waits for what will not come.
void SampledPasses::give_up() {
  failed_.store(true);
  for (size_t i = 0; i < pieces_.size(); ++i) progress_[i].ended.open();
}

}  // namespace sounder
