#include "heed/core/abi.hpp"

#include <gtest/gtest.h>

#include <string>
#include <typeinfo>

#include "heed/core/errors.hpp"

#define HEED_TEST_TEXT_(name) #name
#define HEED_TEST_TEXT(name) HEED_TEST_TEXT_(name)

namespace heed {
namespace {

const std::string abi = HEED_TEST_TEXT(HEED_ABI);

TEST(Abi, NamesTheVersion) {
  EXPECT_EQ(abi.find("v" + std::to_string(HEED_VERSION_MAJOR) + "_" + std::to_string(HEED_VERSION_MINOR) + "_"), 0u) << abi;
}

TEST(Abi, NamesTheInstructionSet) {
#if defined(HEED_AMX)
  EXPECT_NE(abi.find("_avx512_amx_"), std::string::npos) << abi;
#elif defined(HEED_AVX512_BF16)
  EXPECT_NE(abi.find("_avx512_bf16_"), std::string::npos) << abi;
#elif defined(__AVX512F__) && defined(__FMA__)
  EXPECT_NE(abi.find("_avx512_"), std::string::npos) << abi;
#elif defined(__AVX2__) && defined(__FMA__)
  EXPECT_NE(abi.find("_avx2_fma_"), std::string::npos) << abi;
#elif !defined(__AVX__) && !defined(__FMA__)
  EXPECT_NE(abi.find("_base_"), std::string::npos) << abi;
#endif
}

TEST(Abi, NamesTheChecksAndTheErrors) {
#if defined(HEED_DEBUG_CHECKS)
  EXPECT_NE(abi.find("_checked_"), std::string::npos) << abi;
#else
  EXPECT_NE(abi.find("_unchecked_"), std::string::npos) << abi;
#endif
  EXPECT_EQ(abi.substr(abi.rfind('_')), "_throwing");
}

TEST(Abi, IsPartOfTheNameTheLinkerSees) {
  EXPECT_NE(std::string(typeid(ShapeError).name()).find(abi), std::string::npos) << typeid(ShapeError).name();
}

}  // namespace
}  // namespace heed
