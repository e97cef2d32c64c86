// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>

#include "attend.h"
#include "buffer.h"
#include "device.h"
#include "device_workspace.h"
#include "find_best.h"
#include "graphs.h"
#include "host_layers.h"
#include "near_cache.h"
#include "plan.h"
#include "products.h"
#include "sampled_layers.h"
#include "streams.h"

namespace sounder::cuda {

// What a model takes of a device, made by prepare.
struct DeviceState {
  DeviceState(const ModelConfig &config, int64_t weight_bytes, int processors);

  Buffer weights;
  Buffer workspace;
  std::vector<Buffer> own_slabs;   // [layers], empty where the host has it
  std::vector<Buffer> records;     // [layers], empty where a layer has none
  std::vector<Buffer> signatures;  // likewise
  Buffer slab_list;                // the addresses of own_slabs that are there, in device memory
  int own_layers = 0;              // their number
  std::vector<char *> slabs;       // [layers] where kernels find a layer's rows; nullptr: not pinned yet
  std::vector<void *> pinned;      // host memory that unpin gives back
  PinnedBuffer logits_out;
  PinnedBuffer staging;     // of what a step uploads, twice: a step may be queued behind the one that runs
  int64_t staging_bytes;    // of one
  PinnedBuffer chosen_out;  // twice
  Buffer choices;           // [kLogitsRows] of TokenChoice
  PinnedBuffer choices_in;  // twice
  PinnedBuffer handover;    // queries of rows that the CPU attends, then what they attended
  Event handed_over[2];     // of both halves of a step
  Event own_begin{cudaEventDefault}, own_end{cudaEventDefault};
  Stream stream, copies;
  Event layer_done[2], layer_appended[2], step_done[2];

  // Parts of the workspace.
  float *x, *qkv, *logits, *cosine, *sine, *frequencies;
  char *normed, *q, *attended, *gate_up, *activated, *spare, *partials;
  Row *rows;
  int32_t *kept, *tables;
  AttendTile *tiles;
  BestPart *best_parts;  // where partial states of attention lie at other times
  ChosenToken *chosen;   // behind them: until a layer attends
  std::unique_ptr<Products> products;
  std::unique_ptr<SampledLayers> sampled;  // nullptr where no layer samples
  std::unique_ptr<HostLayers> host;        // nullptr where no layer's KV lies in host memory
  std::unique_ptr<NearCache> near;         // nullptr where no row samples there
  Buffer frequency_memory;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  std::string name() const override { return name_; }
  void prepare(const ModelConfig &config, int64_t weight_bytes) override;
  char *weights() override { return state_->weights.data(); }
  void upload(char *to, const void *from, int64_t bytes) override;
  void set_weights(const ModelWeights &weights) override { weights_ = &weights; }

  void pin(int layer, void *slab, int64_t bytes) override;
  void unpin() noexcept override;
  void copy_rows(int32_t from, int32_t to, int tokens) override;
  void read_block(int32_t block, bool sealed, char *to) override;
  void write_block(int32_t block, bool sealed, const char *from) override;
  void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) override;
  void attend(int layer, const float *q, const DeviceStep &step, float *output) override;

  void sign(const DeviceStep &step) override;

  void begin(const DeviceStep &step) override;
  void project(int layer) override;
  void complete(int layer) override;
  void look_at(int first_row, int rows) override;
  void hand_over(int layer, int own_heads) override;
  Handover take_over() override;
  void await_rows(int layer) override;
  double own_heads_ms() override { return own_heads_ms_; }
  StageMs stage_ms() override { return marks_.ms(); }
  void keep(const DeviceStep &step, const std::vector<int32_t> &kept) override;
  void normalise() override;
  const float *logits(int first, int count) override;
  Decoded decode(const DecodeCall &call) override;
  void await_block(int32_t block) override;
  std::vector<SampledStatistics> statistics() override {
    return state_->sampled == nullptr ? std::vector<SampledStatistics>()
                                      : state_->sampled->statistics(shown_);
  }
  std::vector<float> read_rows(int what) override;
  void wait() override;

 private:
  // Calls use(place, bytes) for the parts of a block in the order of a saved context.
  template <typename Use>
  void each_part(int32_t block, bool sealed, const Use &use) const;
  // Makes this device the calling thread's.
  void make_current() const;
  void require_fits(const ModelConfig &config, int64_t weight_bytes) const;
  void synchronize();
  // Uploads the rows of a step, its tables of blocks and its tiles.
  void describe(const DeviceStep &step);
  void describe_rows(const DeviceStep &step);
  void upload_tables(const DeviceStep &step, int32_t *staging);
  void plan_tiles(const DeviceStep &step);
  void embed_rows();
  void multiply_qkv(int layer);
  void append(int layer);
  void append_rows(int layer, int first, int count, const RowPlace &place);
  // Whether rows of the step sample at this layer.
  bool samples(int layer) const {
    return sampled_rows() > 0 && config_->layer_samples(layer) && !config_->cpu_attends(layer);
  }
  int sampled_rows() const { return state_->sampled == nullptr ? 0 : state_->sampled->rows(); }
  void attend_layer(int layer);
  void attend_exactly(int layer, const AttendPlan &plan, char *output);
  void attend_in_slab(int layer, const AttendPlan &plan, char *output);
  void attend_queries(const AttendCall &call, const AttendTile *tiles, int count, int queries, int splits);
  void attend_values(int first, int count, const RowPlace &place, char *output);
  void attend_sampling(int layer);
  void describe_near(const DeviceStep &step);
  RowPlace slab_place(int layer) const;
  void seal_blocks(int layer);
  void sign_keys(int layer);
  void feed_forward(const LayerWeights &weights);
  void output(int first, int count);
  void read_logits(int count);
  char *staging() const { return state_->staging.data() + half_ * state_->staging_bytes; }

  // cuda_decode.cpp
  void decode_all();
  void queue(const DeviceStep &step);
  void queue_ahead(const DeviceStep &step);
  // Waits for what was queued ahead, which nobody asked for after all.
  void forget_ahead();
  ChosenToken *chosen_out(int half) const {
    return reinterpret_cast<ChosenToken *>(state_->chosen_out.data()) + half * kLogitsRows;
  }
  TokenChoice *choices_in(int half) const {
    return reinterpret_cast<TokenChoice *>(state_->choices_in.data()) + half * kLogitsRows;
  }
  void upload_choices(const DeviceStep &step);

  // Noise as the rows of one layer, and its index.
  void fill_rows(int layer, const RowPlace &place, int first, int end, uint32_t seed);

  // cuda_handover.cpp: whether rows of the step are the CPU's to attend at this layer, and what comes back.
  bool hands_over(int layer) const { return !handed_.empty() && config_->cpu_attends(layer); }
  void list_handed(const DeviceStep &step);
  void attend_own_heads(int layer, int heads);
  char *handover() const;
  void count_own_heads();
  bool is_whole() const { return rows_ == step_rows_; }
  size_t part() const { return first_row_ > 0 ? 1 : 0; }
  void take_answers();

  // cuda_host_step.cpp: whether the step stages contexts at this layer, and how it goes then.
  bool stages(int layer) const;
  void append_parts(int layer);
  void attend_parts(int layer, const AttendPlan &plan, char *output);
  void attend_part(const HostLayers::Part &part, const RowPlace &place, const AttendPlan &plan, char *output);
  void fill_host_layer(int layer, const int32_t *blocks, int first, int end, uint32_t seed);

  int index_;
  int processors_, major_;
  std::string name_;
  const ModelConfig *config_ = nullptr;
  const ModelWeights *weights_ = nullptr;
  std::unique_ptr<DeviceState> state_;

  StageMarks marks_;
  void mark(int stage) { marks_.mark(state_->stream, stage); }

  // The rows of the step that runs, and those of them that are looked at, to which what is [R, …] of the
  // state points.
  int step_rows_ = 0, first_row_ = 0, rows_ = 0;
  int half_ = 0;   // of pinned memory, that was queued last
  int shown_ = 0;  // of the step whose statistics are asked for
  bool capturing_ = false;
  // Keys and values are appended by the kernels of sampled attention.
  bool appends_late_ = false;
  // Sinks and tails of rows in host memory are in the cache.
  bool near_ = false;
  // Some row's next token is drawn.
  bool draws_ = false;
  // Of all rows; where rows sample: of the others, and of those that are verified.
  AttendPlan plan_, exact_plan_, verify_plan_;
  Graphs graphs_;
  // Blocks that a step writes which was queued ahead.
  std::mutex ahead_mutex_;
  std::vector<int32_t> ahead_blocks_;
  // Those of them that sample, where the CPU attends at some layer, and what there is to hand them over in.
  std::vector<int32_t> handed_;
  int64_t handover_bytes_ = 0;
  int own_heads_ = 0;  // that the device attends at the layer that was handed over last
  bool is_timing_ = false;
  double own_heads_ms_ = 0;
};

}  // namespace sounder::cuda
