// SPDX-License-Identifier: Apache-2.0
//
// Steps at layers whose KV lies in pinned host memory.
//
// Few rows of a context (decode) append to the host's slab and attend it over the bus. Contexts with many
// (prefill) are staged: new rows go into whole blocks in device memory, `appended`, and from there to the
// host on one stream; older blocks come in on another one, into one of two staging buffers, a job (a context
// at a layer) or two ahead of the attention:
//
//   in       copy (l, a)   copy (l, b)         copy (l+1, a) waits until (l, a) was attended
//   compute  … append l    attend (l, a)       attend (l, b)   …   append l+1
//   out                    write l's new rows                      next append waits for that
//
// A staging buffer is a slab in which block i of the context lies at i. Nobody else reads or writes a host
// block while its new rows are on their way: a step owns the blocks that it writes, and ends with wait().
#pragma once

#include <cstdint>
#include <vector>

#include "device.h"
#include "kv_kernels.h"
#include "streams.h"

namespace sounder::cuda {

class HostLayers {
 public:
  // Device memory as device_workspace.h has it; compute: the stream of steps.
  struct Memory {
    char *copied_in;    // two buffers of table_width blocks
    char *appended;     // device_appended_blocks blocks
    int32_t *identity;  // [table_width]
  };
  HostLayers(const ModelConfig &config, const Memory &memory, const Stream &compute);

  // The slab of a layer: in host memory, and for kernels.
  void set_slab(int layer, char *here, char *address) { slabs_[size_t(layer)] = {here, address}; }

  // A step begins, or rows of it leave. The ids of its blocks are read until wait.
  void begin(const DeviceStep &step);
  void keep(const DeviceStep &step);

  // Rows of the step that follow each other: those of a staged sequence, or of others.
  struct Part {
    int first_row, rows;
    int first_sequence, end_sequence;
    bool staged;
  };
  const std::vector<Part> &parts() const { return parts_; }
  // Whether some sequence is staged; if none is, all rows are in the host's slabs.
  bool stages() const { return !staged_.empty(); }
  bool stages(int sequence) const { return find(sequence) != nullptr; }

  // Where a layer's new rows of a staged sequence go; whole blocks can be sealed there (appended) until
  // end_append, which sends them on.
  RowPlace begin_append(int layer, int sequence);
  RowPlace appended(int sequence) const;
  void end_append(int layer);
  // What is queued on the compute stream from now on sees the layer's new rows in the host's slab.
  void await_written() const {
    for (const Event &written : written_) written.hold_up(compute_);
  }
  // Waits for a layer's, of the two last ones that were sent on.
  void wait_written(int layer) const {
    check(cudaEventSynchronize(written_[layer % 2]), "take KV blocks to the host");
  }

  // Between these, all rows of a staged sequence are there for attention. In the order of sequences.
  RowPlace begin_attention(int layer, int sequence);
  void end_attention(int layer, int sequence);

  // Where positions [first, end) of a context can be written at a layer, outside steps, and what takes them
  // to the host.
  RowPlace begin_fill(int layer, const int32_t *blocks, int first);
  void end_fill(int layer, const int32_t *blocks, int first, int end);

  // Ends a step: all copies are done, in and out.
  void wait();

 private:
  // A context with many new rows.
  struct Staged {
    int sequence;
    int rows;               // that are left of it
    const int32_t *blocks;  // of the context
    int first_row;          // in its first new block: those before are old
    int first_block, new_blocks;
    int place;  // of its first new block in `appended`
  };
  // A staging buffer and what is in it, or on its way.
  struct Buffer {
    int layer = -1, sequence = -1;
    Event arrived, used;
  };
  struct Slab {
    char *here, *address;
  };

  const Staged *find(int sequence) const;
  char *buffer_at(size_t index) const;
  void list_parts(const DeviceStep &step);
  // Copies a block's first rows, which are older than the step, over the bus.
  void bring_old_rows(int layer, int32_t block, int rows, char *to);
  void copy_in(int layer, const Staged &staged, size_t buffer);
  void copy_out(int layer, const int32_t *blocks, int count, const char *from);
  // Begins the next jobs for which there are buffers.
  void copy_ahead();
  bool next_job();

  const ModelConfig &config_;
  Memory memory_;
  const Stream &compute_;
  Stream in_, out_;
  std::vector<Slab> slabs_;  // [layers]
  std::vector<Staged> staged_;
  std::vector<Part> parts_;
  Buffer buffers_[2];
  // The last job that was begun: layer, and index into staged_.
  int job_layer_ = 0, job_index_ = -1;
  Event appended_, written_[2];
  Event filled_[2];
};

}  // namespace sounder::cuda
