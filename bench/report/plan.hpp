// What is done with every variant: the sizes of the model, how long it is trained, and on whose threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include <heed/model/stack_config.hpp>
#include <heed/training/schedule.hpp>

namespace report {

using heed::Index;

inline constexpr Index vocabulary = 256;  // bytes

struct Plan {
  Index width = 128;   // D
  Index layers = 4;    // L
  Index heads = 4;     // H
  Index kv_heads = 2;  // G
  Index length = 256;  // predicted bytes of a window
  Index batch = 4;     // windows of a step
  Index steps = 0;     // of every variant; 0: as many as the time allows
  std::uint64_t seed = 0;
  int threads = 1;
  bool quick = false;

  heed::Sizes sizes() const { return {.width = width, .heads = heads, .kv_heads = kv_heads}; }
  Index bytes_of_step() const { return batch * length; }
  heed::WarmupCosine schedule() const {
    return {.peak = 2e-3, .floor = 2e-4, .warmup_steps = (std::max)(Index(1), steps / 10), .total_steps = steps};
  }

  // -- how much is measured
  double seconds() const { return quick ? 36 : 300; }            // that all of it may take, if steps are chosen
  Index held_out_bytes() const { return quick ? 8192 : 32768; }  // of the held-out text that are predicted
  Index validations() const { return quick ? 4 : 8; }            // during a training, the last one after it
  Index agreement_rows() const { return 512; }                   // whole and in chunks
  Index prefill_rows() const { return 2048; }                    // in one call
  Index prefill_repeats() const { return quick ? 3 : 5; }
  Index decode_repeats() const { return quick ? 16 : 48; }  // steps from each length on
  static constexpr Index decode_lengths[] = {64, 256, 1024, 2048, 4096};
  static constexpr Index stated_lengths[] = {256, 4096};         // of those, in the tables
  static constexpr Index cache_lengths[] = {1024, 8192, 32768};  // in the tables
};

}  // namespace report
