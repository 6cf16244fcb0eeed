#include "heed/mixers/projected_values.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"
#include "mixers/nearest_values.hpp"

namespace heed {
namespace {

using testing::Layers;

TEST(ProjectedValues, HoldTheContractWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<Attention<>, Layers<>, Layers<reading::ValueReader>>();
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ProjectedValues, CacheTheirRows) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(ProjectedValues::plan(shape, {}).per_position, 8);
  EXPECT_EQ((cache_bytes(ProjectedValues::Cache<double>(shape, ProjectedValues::Config{}, {{10, 20}}))), 30 * 8 * 8);
}

}  // namespace
}  // namespace heed
