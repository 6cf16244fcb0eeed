// The contract must be able to fail: one mixer that holds it, and what the contract says of each of its faults.
#include "heed/testing/mixer_contract.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "testing/suspect.hpp"

namespace heed::testing {
namespace {

using suspect::Fault;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Report contract_of(Fault fault) {
  const ContractOptions options = {.sizes = {.width = 6, .heads = 2, .kv_heads = 2, .hidden = 4}, .lengths = {3, 0, 1, 4}};
  return mixer_contract<suspect::Mixer, Layers<suspect::NoteSource>, Layers<suspect::NoteReader>>(
      suspect::Mixer::with(fault), options);
}
std::set<std::string> broken_laws(Fault fault) {
  std::set<std::string> laws;
  for (const std::string& sentence : contract_of(fault).broken) laws.insert(sentence.substr(0, sentence.find(':')));
  return laws;
}

TEST(MixerContract, HoldsForAMixerWithoutAFault) {
  const Report report = contract_of(Fault::none);
  EXPECT_TRUE(report.holds()) << report.text();
  EXPECT_THAT(report.text(), IsEmpty());
}

TEST(MixerContract, NamesTheTensorsThatShareAName) {
  EXPECT_EQ(contract_of(Fault::two_tensors_of_one_name).text(),
            "names: visit gives two tensors the name layers.1.mixer.w\n");
}

TEST(MixerContract, FindsThatChunksBeginAnew) {
  EXPECT_THAT(broken_laws(Fault::forgets_its_state), Contains("chunks"));
  EXPECT_THAT(contract_of(Fault::forgets_its_state).broken.front(),
              StartsWith("chunks: rows fed as 1+1+1+1+1+1+1+1: error"));
}

TEST(MixerContract, FindsAStateThatIgnoresRollback) {
  EXPECT_THAT(broken_laws(Fault::one_state_for_all_slots), ElementsAre("recent", "rollback"));
}

TEST(MixerContract, FindsAStateThatVisitDoesNotList) {
  EXPECT_THAT(broken_laws(Fault::state_that_visit_does_not_list), ElementsAre("reorder", "saved"));
}

TEST(MixerContract, FindsThatOnlyTheLastStateOfACallIsKept) {
  EXPECT_THAT(broken_laws(Fault::one_state_for_all_rows), ElementsAre("recent"));
}

TEST(MixerContract, FindsAStateThatForksShare) {
  EXPECT_THAT(broken_laws(Fault::one_state_for_all_forks), ElementsAre("fork", "recent", "reorder", "rollback", "saved"));
}

TEST(MixerContract, FindsAStateThatOutlivesARestart) {
  EXPECT_THAT(broken_laws(Fault::state_outlives_a_restart), Contains("restart"));
}

TEST(MixerContract, FindsSequencesThatReadEachOther) {
  EXPECT_THAT(broken_laws(Fault::state_of_the_sequence_before), Contains("packed"));
}

TEST(MixerContract, FindsATrainingPassThatDiffers) {
  EXPECT_THAT(contract_of(Fault::differs_in_training).text(), HasSubstr("packed: a training pass differs from inference"));
}

TEST(MixerContract, FindsAConfigThatADynamicStackLoses) {
  EXPECT_THAT(broken_laws(Fault::config_lost_when_moved), ElementsAre("dynamic"));
}

TEST(MixerContract, FindsARowThatReadsALaterOne) {
  EXPECT_THAT(broken_laws(Fault::reads_the_next_row), Contains("causality"));
  EXPECT_THAT(contract_of(Fault::reads_the_next_row).text(),
              HasSubstr("causality: rows before row 1 change with the rows from it on"));
}

TEST(MixerContract, FindsZeroRowsThatGiveNaN) {
  EXPECT_THAT(broken_laws(Fault::not_finite_for_zero_rows), Contains("finite"));
}

TEST(MixerContract, FindsGradientsThatAreNotFinite) {
  EXPECT_THAT(broken_laws(Fault::gradient_not_finite_for_zero_rows), ElementsAre("finite"));
}

TEST(MixerContract, FindsTheOneParameterWhoseGradientIsWrong) {
  const Report report = contract_of(Fault::wrong_gradient_of_one_parameter);
  EXPECT_THAT(broken_laws(Fault::wrong_gradient_of_one_parameter), ElementsAre("gradients", "heads"));
  EXPECT_THAT(report.text(), HasSubstr("gradients: layers.1.mixer.u[0]: backward gives"));
  EXPECT_THAT(report.text(), Not(HasSubstr("layers.1.mixer.w")));
}

TEST(MixerContract, FindsAForgottenGradientOfTheInput) {
  EXPECT_THAT(broken_laws(Fault::forgets_d_x), ElementsAre("gradients", "heads"));
  EXPECT_THAT(contract_of(Fault::forgets_d_x).text(), HasSubstr("gradients: x["));
}

TEST(MixerContract, FindsAForgottenGradientOfAConsumedSignal) {
  EXPECT_THAT(broken_laws(Fault::forgets_the_gradient_of_what_it_consumes), ElementsAre("gradients", "heads"));
  EXPECT_THAT(contract_of(Fault::forgets_the_gradient_of_what_it_consumes).text(),
              HasSubstr("gradients: layers.0.mixer.r["));
}

TEST(MixerContract, FindsAForgottenEchoIfALayerAboveReads) {
  EXPECT_THAT(broken_laws(Fault::forgets_the_echo_of_what_it_publishes), ElementsAre("gradients"));
}

TEST(MixerContract, FindsGradientsThatAreAssigned) {
  EXPECT_THAT(contract_of(Fault::assigns_the_gradient_of_a_parameter).text(),
              HasSubstr("gradients: layers.1.mixer.w[0]: backward gives"));
}

TEST(MixerContract, FindsThatTheGradientOfTheInputIsAssigned) {
  EXPECT_THAT(broken_laws(Fault::assigns_d_x), ElementsAre("heads"));
}

TEST(MixerContract, FindsACacheThatIsNotAsPlanned) {
  EXPECT_THAT(broken_laws(Fault::plans_less_than_it_keeps), ElementsAre("memory"));
  EXPECT_THAT(contract_of(Fault::plans_less_than_it_keeps).text(), HasSubstr("memory: the cache takes 240 bytes"));
}

TEST(MixerContract, FindsScratchThatNobodyWasToldOf) {
  EXPECT_THAT(broken_laws(Fault::takes_more_scratch_than_it_says), ElementsAre("memory"));
}

TEST(MixerContract, FindsThatTheOrderOfJobsMatters) {
  EXPECT_THAT(broken_laws(Fault::depends_on_the_order_of_jobs), Contains("workers"));
}

}  // namespace
}  // namespace heed::testing
