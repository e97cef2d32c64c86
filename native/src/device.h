// SPDX-License-Identifier: Apache-2.0
//
// The border between the engine and a device that computes in memory of its own (a GPU): whole steps cross
// it, row by row nothing does. libsounder_cuda.so implements it; DeviceForward (device_forward.h) calls it.
// One thread at a time, but for what is done to whole
// KV blocks, which any thread may do while a step runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model.h"
#include "sampled/params.h"
#include "sampled/sampled_range.h"
#include "stages.h"
#include "token_choice.h"

namespace sounder {

// The rows that a forward computes: all new tokens of a step's sequences, or those that are left of them.
struct DeviceStep {
  // New tokens of one context; their rows follow each other.
  struct Sequence {
    int first_row;
    int rows;
    int position;                       // of the first row
    const int32_t *blocks;              // of the context, as many as its last row needs
    std::vector<int32_t> signatures{};  // where they lie, of as many blocks as have some (LshTables::places)
    TokenChoice choice{};               // of the token after its row, in a step that decodes
  };
  // A row that chooses the keys that it reads, at layers that sample.
  struct SampledRow {
    int row;
    int sequence;
    int position;
    SampledRange range;
    const SampledParams *params;
    bool is_last;  // of its sequence: what it finds is counted, and verified where its request asks for it
  };
  // Keys of a sequence that get signatures, at each layer that samples, before its rows choose among them.
  // mean_end > 0: centred on the mean of the keys before it, otherwise on the one that there is.
  struct Signed {
    int sequence;
    int begin, end, mean_end;
  };
  std::vector<Sequence> sequences;
  std::vector<int32_t> tokens;      // by row
  std::vector<SampledRow> sampled;  // in the order of their rows
  std::vector<Signed> signed_keys;
  // Captures want what a step otherwise drops: rotated keys and values in float32.
  bool capturing = false;
  // Its stages are told apart.
  bool tells_stages = false;
};

class Device {
 public:
  virtual ~Device() = default;

  // "NVIDIA H100 80GB HBM3"
  virtual std::string name() const = 0;

  // Makes room for a model: weights, KV blocks and the activations of a step. Fails with
  // SOUNDER_OUT_OF_MEMORY and figures. config and the model's list of weights outlive the device.
  virtual void prepare(const ModelConfig &config, int64_t weight_bytes) = 0;
  // Where the weights lie, in device memory.
  virtual char *weights() = 0;
  virtual void upload(char *to, const void *from, int64_t bytes) = 0;
  // The views of the weights, addresses in device memory.
  virtual void set_weights(const ModelWeights &weights) = 0;

  // Makes memory of the host, which is touched, the slab of a layer (ModelConfig::layer_on_host): pinned, and
  // read and written by kernels. Until unpin, which comes before the memory goes.
  virtual void pin(int layer, void *slab, int64_t bytes) = 0;
  virtual void unpin() noexcept = 0;

  // Of KV blocks, what lies in the device's own memory; the rest is the host's business (kv_blocks.h).
  // The first rows of a block, over all layers and heads, become those of another one.
  virtual void copy_rows(int32_t from, int32_t to, int tokens) = 0;
  // The block in the order of a saved context (saved/format.h): for each layer its rows, then, of a sealed
  // block, its records.
  virtual void read_block(int32_t block, bool sealed, char *to) = 0;
  // Even where nothing of it is the device's: it may have copies of what the host has.
  virtual void write_block(int32_t block, bool sealed, const char *from) = 0;
  // Seeded noise as KV of the positions [first, end) of a context (kv_noise.h), and its index.
  virtual void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) = 0;
  // Attention of one query [H D] over KV that is there: the only row of this step.
  virtual void attend(int layer, const float *q, const DeviceStep &step, float *output) = 0;

  // Signatures of keys that are there: a step without rows.
  virtual void sign(const DeviceStep &step) = 0;

  // A step: begin (embedding), then for each layer project (norm, q, k, v, RoPE, append) and complete
  // (attention and feed-forward), then normalise, then logits. In between, keep lets rows go: kept[i] says
  // which row becomes row i. Work runs behind the calls' backs; complete returns when that of the layer
  // before is done.
  virtual void begin(const DeviceStep &step) = 0;
  virtual void project(int layer) = 0;
  virtual void complete(int layer) = 0;
  // What project, hand_over and complete do next is for these rows of the step alone, until it is all of them
  // again. Of a step that decodes and hands all its rows over, with no heads of its own; the two halves of
  // it, each layer the first one first.
  virtual void look_at(int first_row, int rows) = 0;
  // Between these two where the CPU attends (ModelConfig::cpu_attends): the sampled rows are handed over.
  // Then, what they ask, after RoPE, and where answers are expected, which complete takes, in the values of
  // KV; both [rows, H D]. K and V of the step lie in the host's slab then. The first own_heads KV heads of
  // these rows, and all other rows, the device attends itself, behind the call's back.
  struct Handover {
    const float *queries;
    char *answers;
  };
  virtual void hand_over(int layer, int own_heads) = 0;
  virtual Handover take_over() = 0;
  // Until what the step appended at this layer lies in the host's slab. Of the two last layers that were
  // projected.
  virtual void await_rows(int layer) = 0;
  // Milliseconds that its own heads took since begin, once wait has returned.
  virtual double own_heads_ms() = 0;
  virtual void keep(const DeviceStep &step, const std::vector<int32_t> &kept) = 0;
  virtual void normalise() = 0;
  // The logits of rows [first, first + count), count ≤ kLogitsRows, in host memory until the next call.
  virtual const float *logits(int first, int count) = 0;
  // A whole step of one row a sequence, for at most kLogitsRows rows.
  struct DecodeCall {
    const DeviceStep &step;
    bool is_running;         // it was the last call's `next`, and nothing came between
    bool logits;             // whether they are asked for
    const DeviceStep *next;  // nullptr, or a step like this one whose tokens, all -1, are what this one
                             // finds: queued behind it, so that it runs while its call is on the way
  };
  // In host memory until the next call.
  struct Decoded {
    const ChosenToken *chosen;  // [rows]
    const float *logits;        // [rows, V] or nullptr
  };
  virtual Decoded decode(const DecodeCall &call) = 0;
  // Until no step that was queued ahead writes to this block: for who takes it for something else. From any
  // thread.
  virtual void await_block(int32_t block) = 0;

  // Milliseconds by stage (enum sounder_stage) of a step that tells them apart, once decode or wait has
  // returned: those of its own work.
  virtual StageMs stage_ms() = 0;

  // What the sampled last rows found, by sequence of the step, once decode, attend or wait has returned: sums
  // over the layers, but not how many layers there were, nor the keys to choose from.
  virtual std::vector<SampledStatistics> statistics() = 0;
  // What (enum sounder_capture, but not the logits) the rows have at this point, [rows, width] in float32.
  virtual std::vector<float> read_rows(int what) = 0;
  // Until all of the step's work is done, whose KV others may read then.
  virtual void wait() = 0;
};

// Bytes of a device's memory, free and in all.
struct DeviceMemory {
  int64_t free;
  int64_t total;
};

}  // namespace sounder
