// A layer whose parameters are a memory: below a mixer that reads memory, it brings the same rows to every sequence, and
// checking its gradient checks that of the memory.
//
//   publishes memory [S_m x D], adds nothing to y
#pragma once

#include "../mixers/mixer.hpp"

namespace heed::inline HEED_ABI::testing {

struct MemorySource {
  static constexpr std::string_view name = "memory source";
  using consumes = signals<>;
  using publishes = signals<memory>;

  struct Config {
    Index positions = 7;  // S_m
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> rows;  // [S_m x D]

    Params() = default;
    Params(const Shape& shape, const Config& config) : rows(config.positions, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("rows", Role::matrix, p.rows...);
    }
  };
  template <class Scalar>
  using Cache = NoCache;
  static CachePlan plan(const Shape&, const Config&) { return {}; }

  template <class Scalar>
  struct Record {
    Scalar* d_rows = nullptr;  // [S_m x D] where all sequences add
  };

  template <class Scalar>
  static void apply(const Call<MemorySource, Scalar>& call, const View<Scalar>&, MutableView<Scalar>) {
    const Matrix<Scalar>& rows = call.params.rows;
    if (call.pass.training()) call.record.d_rows = call.pass.kept.template take_zeroed<Scalar>(rows.size());
    const auto table = call.outputs.template get<memory>().table;
    for (Index b = 0; b < table.sequences; ++b)
      table.at(b, 0) = {rows.data(), call.pass.training() ? call.record.d_rows : nullptr,
                        rows.rows(), rows.cols(),
                        rows.cols(), rows.cols()};
  }

  template <class Scalar>
  static void backward(const Call<MemorySource, Scalar>& call, const View<Scalar>&, const View<Scalar>&,
                       MutableView<Scalar>, Params<Scalar>& gradients) {
    const Index width = gradients.rows.cols();
    gradients.rows += view_of(static_cast<const Scalar*>(call.record.d_rows), gradients.rows.rows(), width, width);
  }
};

}  // namespace heed::inline HEED_ABI::testing
