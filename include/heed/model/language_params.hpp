// The tensors of a language model: those of its stack, and what stands around it.
#pragma once

#include <type_traits>

#include "../core/visit.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// The tensors of a language model: values (gradients, moments) or references (the model's own).
template <class Embedding, class StackParams, class NormParams, class HeadParams>
struct LanguageParams {
  Embedding embedding;  // [V x D]
  StackParams stack;
  NormParams norm;
  HeadParams head;

  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("embedding.weight", Role::embedding, p.embedding...);
    heed::visit(f, p.stack...);
    heed::visit(prefixed("norm", f), p.norm...);
    heed::visit(prefixed("head", f), p.head...);
  }
};

}  // namespace detail

/// References are not copied: `model.make_gradients()` has zeros.
template <class E, class S, class N, class H>
requires std::is_reference_v<E>
void zeros_like(const detail::LanguageParams<E, S, N, H>&) = delete;

}  // namespace heed::inline HEED_ABI
