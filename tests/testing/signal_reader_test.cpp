#include "heed/testing/signal_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"

namespace heed::testing {
namespace {

using ::testing::HasSubstr;

/// Projected values that do not hear what readers above add.
struct Deaf : ProjectedValues {
  template <class Scalar>
  static HeadTable<HeadRows<Scalar>> apply(const Call<Deaf, Scalar>& call, const View<Scalar>& x) {
    const Call<ProjectedValues, Scalar> heard = {call.shape,   call.config, call.params, call.inputs,
                                                 call.outputs, call.cache,  call.record, call.pass};
    const Pass& pass = call.pass;
    const auto table = ProjectedValues::apply<Scalar>(heard, x);
    const auto own = HeadTable<HeadRows<Scalar>>::make(pass.kept, table.sequences, table.heads);
    for (Index b = 0; b < table.sequences; ++b)
      for (Index g = 0; g < table.heads; ++g) {
        own.at(b, g) = table.at(b, g);
        table.at(b, g).gradient = pass.kept.zeros<Scalar>(x.rows(), call.shape.v_width()).data();
      }
    return own;
  }
  template <class Scalar>
  static void backward(const Call<Deaf, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> d_x,
                       Params<Scalar>& gradients) {
    const Call<ProjectedValues, Scalar> heard = {call.shape,   call.config, call.params, call.inputs,
                                                 call.outputs, call.cache,  call.record, call.pass};
    ProjectedValues::backward<Scalar>(heard, x, d_x, gradients);
  }
};

template <class Mixer>
std::string broken_gradients() {
  Report report;
  const Sizes sizes = {.width = 4, .heads = 2, .kv_heads = 1, .head_width = 2, .hidden = 2};
  using Tower = detail::Tower<Mixer, Layers<>, Layers<>>;
  detail::check_gradients(report, Tower::template build_read<double>(sizes, {}), {3, 0, 1}, 1, "gradients");
  return report.text();
}

TEST(SignalReader, HasNothingToSayOfAttentionThatHearsItsReaders) {
  EXPECT_EQ(broken_gradients<Attention<>>(), "");
}

TEST(SignalReader, FindsAnEchoThatIsForgotten) {
  EXPECT_THAT((broken_gradients<Attention<ComputedScores, Deaf>>()), HasSubstr("gradients: layers.0.mixer.w_v[0]"));
}

}  // namespace
}  // namespace heed::testing
