// A pass over one whole sequence without a stack: for components that are called alone.
#pragma once

#include <heed/core/pass.hpp>

namespace heed {

class LonePass {
 public:
  explicit LonePass(Index rows, Purpose purpose = Purpose::training)
      : offsets_{0, rows}, pass{Division(offsets_), past_, {slots_}, purpose, kept_, scratch_, workers_} {}
  LonePass(const LonePass&) = delete;
  LonePass& operator=(const LonePass&) = delete;

 private:
  Index offsets_[2];
  Index past_[1] = {0};
  StateSlots slots_[1] = {{0, 0}};
  Arena kept_, scratch_;
  Workers workers_;

 public:
  const Pass pass;
};

}  // namespace heed
