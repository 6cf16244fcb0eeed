// Prefill: T = S rows on an empty cache. FLOPs of causal attention are those of the pairs that are seen: about half.
#pragma once

#include <algorithm>
#include <heed/ops/attend.hpp>
#include <string>

#include "attend_sizes.hpp"
#include "oracle.hpp"

namespace limits {

struct Prefill {
  AttendSizes sizes;
  heed::AttendOptions options;
  bench::HugeMatrix<float> q, k, v, y;

  Prefill(const AttendSizes& of, const heed::AttendOptions& how)
      : sizes(of),
        options(how),
        q(random(of.keys, of.heads * of.width, "q")),
        k(random(of.keys, of.kv_heads * of.width, "k")),
        v(random(of.keys, of.kv_heads * of.width, "v")),
        y(of.keys, of.heads * of.width) {
    options.heads = of.heads;
    options.kv_heads = of.kv_heads;
  }
  void run(heed::Workers& workers) { heed::attend_into(q.view(), k.view(), v.view(), options, y.mutable_view(), workers); }
  /// Calls each(operands of the head, head, row, what was found) for some rows of some heads, until it returns a sentence.
  template <class F>
  std::string some(F&& each) const {
    for (const Index head : {Index(0), sizes.heads - 1}) {
      const Index kv = head / (sizes.heads / sizes.kv_heads) * sizes.width, at = head * sizes.width;
      const HeadOperands of{q.data() + at, k.data() + kv, v.data() + kv, q.cols(),    k.cols(),
                            v.cols(),      sizes.keys,    sizes.width,   options.mask};
      for (const Index row : some_rows(sizes.keys))
        if (std::string wrong = each(of, head, row, y.data() + row * y.cols() + at); !wrong.empty()) return wrong;
    }
    return {};
  }
  std::string check(heed::Workers& workers) {
    run(workers);
    return some([](const HeadOperands& of, Index head, Index row, const float* found) {
      return of.check("head " + std::to_string(head), row, row, found);
    });
  }
  /// The largest error of these rows.
  double error(heed::Workers& workers) {
    run(workers);
    double largest = 0;
    some([&](const HeadOperands& of, Index, Index row, const float* found) -> std::string {
      const Matrix<float> y_row = Eigen::Map<const Matrix<float>>(found, 1, sizes.width);
      largest = (std::max)(largest, heed::reference::error_of(y_row, of.attended<double>(row, row)));
      return {};
    });
    return largest;
  }
};

}  // namespace limits
