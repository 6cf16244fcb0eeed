// The menu: names for the useful points of Attention<Scores, Values>, and the papers' names for them.
#pragma once

#include "attention.hpp"
#include "cross_attention.hpp"
#include "dense_values.hpp"
#include "in_parallel.hpp"
#include "neutreno.hpp"
#include "normed_output.hpp"
#include "residual_values.hpp"
#include "reused_scores.hpp"
#include "selective_state.hpp"
#include "shared_keys.hpp"
#include "shared_softmax.hpp"
#include "shared_values.hpp"
#include "side_by_side.hpp"
#include "state_space_dual.hpp"

namespace heed::inline HEED_ABI {

using StandardAttention = Attention<ComputedScores, ProjectedValues>;
using ResidualValueAttention = Attention<ComputedScores, ResidualValues<Fixed>>;
using LearnedResidualValueAttention = Attention<ComputedScores, ResidualValues<Learned>>;
using SharedValueAttention = Attention<ComputedScores, SharedValues<>>;
using ScoreReuseAttention = Attention<ReusedScores, ProjectedValues>;
using ScoreReuseResidualValueAttention = Attention<ReusedScores, ResidualValues<Fixed>>;
using ScoreReuseSharedValueAttention = Attention<ReusedScores, SharedValues<>>;
/// Keys and values of the first layer of a group; its first layer is standard.
using CrossLayerAttention = Attention<SharedKeys<>, SharedValues<nearest<values>>>;
using SharedKeyAttention = Attention<SharedKeys<>, ProjectedValues>;
/// Keys of the first layer of a group, values of the first of all; the group's first layer is SVFormer's.
using SharedKeyValueAttention = Attention<SharedKeys<>, SharedValues<>>;

/// Some heads compute their scores, the others take those of the layer below.
using PartialScoreReuseAttention = SideBySide<StandardAttention, ScoreReuseAttention>;
using PartialScoreReuseResidualValueAttention = SideBySide<ResidualValueAttention, ScoreReuseResidualValueAttention>;
using PartialScoreReuseSharedValueAttention = SideBySide<SharedValueAttention, ScoreReuseSharedValueAttention>;
/// Some heads attend, the others recur.
using RecurrentMixAttention = SideBySide<StandardAttention, StateSpaceDual>;
/// Every head attends and recurs.
using ParallelMixAttention = InParallel<Attention<ComputedScores, ProjectedValues, NormedOutput>, StateSpaceDual>;

using ResFormer = ResidualValueAttention;      // Zhou et al. 2024
using SVFormer = SharedValueAttention;         // Zhou et al. 2024
using CLA = CrossLayerAttention;               // Brandon et al. 2024
using ReuseTransformer = ScoreReuseAttention;  // Bhojanapalli et al. 2021
using RecurFormer = RecurrentMixAttention;     // Yan et al. 2024
using Mamba = SelectiveState;                  // Gu and Dao 2023
using Mamba2 = StateSpaceDual;                 // Dao and Gu 2024

}  // namespace heed::inline HEED_ABI
