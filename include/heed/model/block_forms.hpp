// How the branches of a block, its mixer and its feed-forward, join the stream of rows. Four types, one interface.
//
// A form is written once, for a branch f, and run for both; a joint form runs once, with the sum of both as its f.
//
//   apply(branch, h)        h [T x D]: comes in as what the layer below left, goes out with the branch in it
//   backward(branch, d_h)   d_h [T x D]: comes in as the gradient of what went out, goes out as that of what came in
#pragma once

#include <string_view>

#include "../core/pass.hpp"
#include "../ops/add.hpp"

namespace heed::inline HEED_ABI {

/// What a form leaves for backward, of one branch.
template <class Scalar>
struct BranchRecord {
  const Scalar* h = nullptr;  // [T x D] what came in
  const Scalar* x = nullptr;  // [T x D] what f read
  const Scalar* y = nullptr;  // [T x D] what the norm behind f read
};

/// A branch as its form sees it. Forward: f(x, y) adds f(x) to y, the norms assign. Backward: all three are called with
/// (x, d_y, d_x), and add to d_x and to their gradients.
template <class Scalar, class F, class Norm, class NormOut>
struct Branch {
  const Pass& pass;
  BranchRecord<Scalar>& record;
  F f;
  Norm norm;
  NormOut norm_out;  // only forms with norms_out call it

  /// A copy of h that backward finds, if it will come; at inference h itself will do.
  const Scalar* kept(const MutableView<Scalar>& h) const { return pass.training() ? copy(h).data() : h.data(); }
  View<Scalar> copy(const MutableView<Scalar>& h) const {
    MutableView<Scalar> copy = pass.record().template matrix<Scalar>(h.rows(), h.cols());
    copy = h;
    return view_of(copy);
  }
  View<Scalar> normed(const MutableView<Scalar>& h) const {
    MutableView<Scalar> x = pass.record().template matrix<Scalar>(h.rows(), h.cols());
    norm(view_of(h), x);
    return view_of(x);
  }
  MutableView<Scalar> zeros_like(const MutableView<Scalar>& h, Arena& arena) const {
    return arena.zeros<Scalar>(h.rows(), h.cols());
  }
  /// Recorded rows of the shape of h.
  static View<Scalar> rows_like(const MutableView<Scalar>& h, const Scalar* rows) {
    return view_of(rows, h.rows(), h.cols(), h.cols());
  }
};
template <class Scalar, class F, class Norm, class NormOut>
Branch(const Pass&, BranchRecord<Scalar>&, F, Norm, NormOut) -> Branch<Scalar, F, Norm, NormOut>;

///   h ──┬── norm ── f ──(+)── h
///       └────────────────┘                 h = h + f(norm(h))
///
/// Source: Xiong et al. 2020 (arXiv 2002.04745), section 3.2.
struct PreNorm {
  static constexpr std::string_view name = "pre_norm";
  static constexpr bool joint = false;      // whether mixer and feed-forward are one branch
  static constexpr bool norms_out = false;  // whether there is a second norm, of what f gives

  template <class BranchType, class Scalar>
  static void apply(const BranchType& branch, MutableView<Scalar> h) {
    branch.record.h = branch.kept(h);
    const View<Scalar> x = branch.normed(h);
    branch.record.x = x.data();
    branch.f(x, h);
  }

  template <class BranchType, class Scalar>
  static void backward(const BranchType& branch, MutableView<Scalar> d_h) {
    const Arena::Scope scope(branch.pass.scratch);
    MutableView<Scalar> d_x = branch.zeros_like(d_h, branch.pass.scratch);  // [T x D]
    // h += f(x)
    branch.f(branch.rows_like(d_h, branch.record.x), view_of(d_h), d_x);
    // x = norm(h)
    branch.norm(branch.rows_like(d_h, branch.record.h), view_of(d_x), d_h);
  }
};

///               ┌── mixer ─────────┐
///   h ──┬── norm┤                 (+)──(+)── h         h = h + mixer(norm(h)) + feed_forward(norm(h))
///       │       └── feed_forward ──┘    │
///       └───────────────────────────────┘
///
/// Source: Chowdhery et al. 2022 (arXiv 2204.02311), section 2; first in GPT-J (Wang and Komatsuzaki 2021).
struct ParallelForm : PreNorm {
  static constexpr std::string_view name = "parallel";
  static constexpr bool joint = true;
};

///   h ──┬── f ──(+)── norm ── h
///       └────────┘                         h = norm(h + f(h))
///
/// Source: Vaswani et al. 2017 (arXiv 1706.03762), section 3.1.
struct PostNorm {
  static constexpr std::string_view name = "post_norm";
  static constexpr bool joint = false;
  static constexpr bool norms_out = false;

  template <class BranchType, class Scalar>
  static void apply(const BranchType& branch, MutableView<Scalar> h) {
    const View<Scalar> x = branch.copy(h);  // f may add to h before it has read all of x
    branch.record.x = x.data();
    branch.f(x, h);
    branch.record.y = branch.kept(h);
    branch.norm(view_of(h), h);
  }

  template <class BranchType, class Scalar>
  static void backward(const BranchType& branch, MutableView<Scalar> d_h) {
    const Arena::Scope scope(branch.pass.scratch);
    MutableView<Scalar> d_y = branch.zeros_like(d_h, branch.pass.scratch);  // [T x D]
    // h = norm(y)
    branch.norm(branch.rows_like(d_h, branch.record.y), view_of(d_h), d_y);
    // y = x + f(x)
    d_h = d_y;
    branch.f(branch.rows_like(d_h, branch.record.x), view_of(d_y), d_h);
  }
};

///   h ──┬── norm ── f ── norm_out ──(+)── h
///       └────────────────────────────┘     h = h + norm_out(f(norm(h)))
///
/// Source: Ding et al. 2021 (arXiv 2105.13290), section 2.4; Gemma Team 2024 (arXiv 2408.00118), section 2.
struct Sandwich {
  static constexpr std::string_view name = "sandwich";
  static constexpr bool joint = false;
  static constexpr bool norms_out = true;

  template <class BranchType, class Scalar>
  static void apply(const BranchType& branch, MutableView<Scalar> h) {
    branch.record.h = branch.kept(h);
    const View<Scalar> x = branch.normed(h);
    MutableView<Scalar> y = branch.zeros_like(h, branch.pass.record());  // [T x D]
    branch.f(x, y);
    branch.record.x = x.data();
    branch.record.y = y.data();
    const Arena::Scope scope(branch.pass.scratch);
    MutableView<Scalar> normed = branch.zeros_like(h, branch.pass.scratch);  // [T x D]
    branch.norm_out(view_of(y), normed);
    add(normed, h, branch.pass.workers);
  }

  template <class BranchType, class Scalar>
  static void backward(const BranchType& branch, MutableView<Scalar> d_h) {
    const Arena::Scope scope(branch.pass.scratch);
    MutableView<Scalar> d_y = branch.zeros_like(d_h, branch.pass.scratch);  // [T x D]
    MutableView<Scalar> d_x = branch.zeros_like(d_h, branch.pass.scratch);  // [T x D]
    // h += norm_out(y)
    branch.norm_out(branch.rows_like(d_h, branch.record.y), view_of(d_h), d_y);
    // y = f(x)
    branch.f(branch.rows_like(d_h, branch.record.x), view_of(d_y), d_x);
    // x = norm(h)
    branch.norm(branch.rows_like(d_h, branch.record.h), view_of(d_x), d_h);
  }
};

}  // namespace heed::inline HEED_ABI
