// heed: attention variants on Eigen that compose, per layer and per head, into one Transformer block.
//
// This header brings everything that needs Eigen alone. Threads (heed/threads/pool.hpp), files (heed/io/...) and the test
// kit (heed/testing/...) are included on their own.
#pragma once

#include "mixers/any_mixer.hpp"
#include "mixers/variants.hpp"
#include "model/dynamic_stack.hpp"
#include "model/inspect.hpp"
#include "model/language_model.hpp"
#include "model/mixer_layer.hpp"
#include "model/registry.hpp"
#include "model/sampler.hpp"
#include "model/stack.hpp"
#include "ops/alibi.hpp"
#include "ops/attend.hpp"
#include "ops/linear_attention.hpp"
#include "ops/merge.hpp"
#include "training/trainer.hpp"
#include "version.hpp"
