#include "subject.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <heed/model/language_model.hpp>
#include <heed/model/sampler.hpp>
#include <heed/threads/pool.hpp>
#include <heed/training/trainer.hpp>

#include "layers.hpp"
#include "oracle.hpp"

namespace report {

namespace {

using Stack = heed::DynamicStack<float>;
using Model = heed::LanguageModel<Stack>;
using Trainer = heed::Trainer<Model, unsigned char>;
using heed::Matrix;

template <class F>
double seconds_of(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// `count` tokens of a text, from its beginning again when it ends.
std::vector<int> tokens_of(Bytes text, Index count) {
  std::vector<int> tokens;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) tokens.push_back(text[i % text.size()]);
  return tokens;
}

template <class A, class B>
double largest_difference(const A& a, const B& b) {
  double largest = 0;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j) {
      const double difference = std::abs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
      if (difference > largest || std::isnan(difference)) largest = difference;
    }
  return largest;
}

}  // namespace

struct Subject::Held {
  Held(const Variant& variant_in, const Plan& plan_in)
      : variant(variant_in),
        plan(plan_in),
        pool(plan.threads),
        model(vocabulary, Stack::build(plan.sizes(), layers_of<float>(variant, plan.layers)), plan.seed) {}

  heed::TrainerOptions trainer_options() {
    return {.batch = plan.batch, .length = plan.length, .schedule = plan.schedule(), .seed = plan.seed, .executor = &pool};
  }

  const Variant& variant;
  Plan plan;
  mutable heed::Pool pool;
  Model model;
};

Subject::Subject(const Variant& variant, const Plan& plan) : held_(std::make_unique<Held>(variant, plan)) {}
Subject::~Subject() = default;

double Subject::time_step(Bytes learned) {
  Trainer trainer(held_->model, learned, held_->trainer_options());
  trainer.step();  // the first one touches all memory
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) times.push_back(seconds_of([&] { trainer.step(); }));
  held_->model.initialise(held_->plan.seed);
  return median(times);
}

Index Subject::parameters() const {
  return heed::count_parameters(std::as_const(held_->model).params());
}

CacheBytes Subject::cache_bytes() const {
  constexpr Index slots = 2;  // of a cache without checkpoints
  CacheBytes bytes;
  for (Index layer = 0; layer < held_->plan.layers; ++layer) {
    const heed::CachePlan plan = held_->model.stack().plan().cache(static_cast<std::size_t>(layer));
    bytes.constant += plan.per_state * slots * static_cast<Index>(sizeof(float));
    bytes.per_position += plan.per_position * static_cast<Index>(sizeof(float));
  }
  constexpr Index positions = Plan::cache_lengths[0];
  bytes.allocated = held_->model.make_cache({.positions = positions, .checkpoints = 0}).bytes() == bytes.at(positions);
  return bytes;
}

Curve Subject::train(Bytes learned, Bytes held_out, const OnStep& on_step) {
  const Plan& plan = held_->plan;
  Trainer trainer(held_->model, learned, held_->trainer_options());
  Curve curve;
  while (curve.steps() < plan.steps) {
    heed::TrainingStep step{};
    curve.seconds += seconds_of([&] { step = trainer.step(); });
    curve.losses.push_back(step.loss);
    const Index done = curve.steps();
    if (done * plan.validations() / plan.steps > (done - 1) * plan.validations() / plan.steps)
      curve.held_out.push_back({done, trainer.validate(held_out)});
    if (!on_step(curve)) return curve;
  }
  curve.finished = true;
  return curve;
}

Agreement Subject::agreement(Bytes text) const {
  const Model& model = held_->model;
  const Index rows = held_->plan.agreement_rows();
  const std::vector<int> tokens = tokens_of(text, rows);
  const std::span<const int> all(tokens);

  auto cache = model.make_cache({.positions = rows, .rows = rows});
  const Matrix<float> whole = model.logits(all, cache);  // [T x V]

  Matrix<float> chunked(rows, vocabulary);
  auto chunk_cache = model.make_cache({.positions = rows, .rows = rows});
  heed::Random random(held_->plan.seed, "chunks");
  for (Index begin = 0, count = 0; begin < rows; begin += count) {
    count = (std::min)(rows - begin, Index(1) + static_cast<Index>(random.uniform() * 64));
    chunked.middleRows(begin, count) =
        model.logits(all.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)), chunk_cache);
  }

  Weights weights;
  heed::visit([&](std::string_view name, heed::Role,
                  const Matrix<float>& tensor) { weights[std::string(name)] = tensor.cast<double>(); },
              model.params());
  const Matrix<double> exact = logits_in_double(held_->variant, held_->plan, weights, all);  // [T x V]
  return {largest_difference(chunked, whole), largest_difference(whole, exact), largest_difference(chunked, exact)};
}

double Subject::prefill(Bytes text) const {
  const Index rows = held_->plan.prefill_rows();
  const std::vector<int> tokens = tokens_of(text, rows);
  auto cache = held_->model.make_cache({.positions = rows, .rows = rows, .checkpoints = 0, .executor = &held_->pool});
  std::vector<double> times;
  for (Index i = 0; i <= held_->plan.prefill_repeats(); ++i) {
    static_cast<void>(cache.truncate(0, 0));
    const double seconds = seconds_of([&] { held_->model.next_logits(tokens, cache); });
    if (i > 0) times.push_back(seconds);  // the first one touches all memory
  }
  return static_cast<double>(rows) / median(times);
}

std::vector<DecodeTime> Subject::decode(Bytes text) const {
  constexpr Index rows = 256;
  const Index repeats = held_->plan.decode_repeats();
  const Index positions = *std::rbegin(Plan::decode_lengths) + repeats;
  const std::vector<int> tokens = tokens_of(text, positions);
  const auto part = [&](Index begin, Index count) {
    return std::span<const int>(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  };
  auto cache = held_->model.make_cache({.positions = positions, .rows = rows, .checkpoints = 0});
  std::vector<DecodeTime> all;
  for (const Index position : Plan::decode_lengths) {
    while (cache.length() < position)
      held_->model.next_logits(part(cache.length(), (std::min)(rows, position - cache.length())), cache);
    std::vector<double> times;
    for (Index i = 0; i < repeats; ++i)
      times.push_back(seconds_of([&] { held_->model.next_logits(part(cache.length(), 1), cache); }));
    all.push_back({position, median(times)});
  }
  return all;
}

std::string Subject::generate(std::string_view prompt) const {
  const Index positions = held_->plan.length;
  auto cache = held_->model.make_cache({.positions = positions, .rows = positions, .checkpoints = 0});
  heed::Sampler sampler({.temperature = 0.8, .top_k = 40, .seed = held_->plan.seed});
  std::vector<int> tokens;
  for (const char byte : prompt) tokens.push_back(static_cast<unsigned char>(byte));
  std::string written;
  while (cache.length() + static_cast<Index>(tokens.size()) <= positions) {
    tokens = {sampler(held_->model.next_logits(tokens, cache))};
    written += static_cast<char>(tokens.front());
  }
  return written;
}

}  // namespace report
