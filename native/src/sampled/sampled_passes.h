// SPDX-License-Identifier: Apache-2.0
//
// The passes of all views as one list of chunks, so that threads meet once a layer and not once a pass: what
// a strategy finishes between two passes of a view is done while other threads are in another view's.
//
// A view's passes are its strategy's phases and a last one, in which keys are chosen and attended. The list
// has the first pass of every view, then the second of every view, and so on. A chunk may begin when the pass
// before it of its own view has ended. Threads take places in the order of the list, so that whoever waits,
// waits for chunks that others are in; of a pass they take the chunks first in which they were in the pass
// before, since these lie in their own caches.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "../threads.h"
#include "sampled_views.h"

namespace sounder {

struct Piece {
  View *view;
  int pass;  // view->phases: the last one
  int first_chunk, chunks;
  int before;  // the piece of the view's pass before; -1 if there is none

  bool is_last() const { return pass == view->phases; }
  // A view's first pass has one chunk more, its last: sink and tail, on which all that follows may build.
  bool has_exact() const { return pass == 0; }
};

class SampledPasses {
 public:
  static constexpr int kMostChunks = kMostSegments + 1;

  explicit SampledPasses(int most_views);

  // Lists the chunks of these views; returns how many there are.
  int plan(std::vector<View> &views);

  // Runs body(piece, chunk of the piece) for this place of the list, when its time has come, and
  // finish(piece) after the last chunk of a piece. What throws ends all pieces.
  template <typename Body, typename Finish>
  void run(int place, int thread, const Body &body, const Finish &finish) {
    const int index = piece_of(place);
    const Piece &piece = pieces_[static_cast<size_t>(index)];
    if (piece.before >= 0) progress_[piece.before].ended.wait();
    try {
      if (!failed_.load()) body(piece, claim(index, thread));
      if (progress_[index].chunks.fetch_add(1, std::memory_order_acq_rel) + 1 < piece.chunks) return;
      if (!failed_.load()) finish(piece);
      progress_[index].ended.open();
    } catch (...) {
      give_up();
      throw;
    }
  }

 private:
  struct Progress {
    std::atomic<int> chunks;  // that ended
    Gate ended;
    std::atomic<int16_t> taker[kMostChunks];  // the thread that took a chunk; -1: nobody yet
  };

  int piece_of(int place) const;
  int claim(int index, int thread);
  void give_up();

  std::vector<Piece> pieces_;
  std::unique_ptr<Progress[]> progress_;
  std::atomic<bool> failed_{false};
};

}  // namespace sounder
