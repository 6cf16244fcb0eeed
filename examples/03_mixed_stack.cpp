// Five variants in one stack: prefill, decode, checkpoint, rollback, inspect.
#include <heed/heed.hpp>
#include <iostream>

using Model = heed::Stack<float,                                          //
                          heed::Block<heed::StandardAttention>,           // publishes values and scores
                          heed::Repeat<2, heed::Block<heed::ResFormer>>,  // reads first<values>
                          heed::Block<heed::ScoreReuseAttention>,         // reads nearest<scores>
                          heed::Block<heed::SVFormer>,                    // reads first<values>
                          heed::Block<heed::RecurFormer>>;                // half attends, half recurs

int main() {
  Model::Config config{.width = 64, .heads = 4, .kv_heads = 2};
  config.layer<2>().mixer.scores.mask = heed::window(128);  // one of the residual layers sees 128 keys
  Model model(config);
  model.initialise(/*seed=*/1);
  std::cout << heed::inspect(model) << "\n";

  heed::Matrix<float> x(12, 64);
  heed::Random(1, "x").normal(x, 1);

  auto cache = model.make_cache({.positions = 256, .rows = 8});
  heed::Matrix<float> h = model.forward(x.topRows(8), cache);  // prefill
  h = model.forward(x.row(8), cache);                          // decode: the same function, no allocation inside

  const heed::Mark mark = cache.checkpoint();
  for (heed::Index t = 9; t < 12; ++t) h = model.forward(x.row(t), cache);
  std::cout << "positions " << cache.length();
  const bool back = cache.rollback(mark);  // recurrent heads too
  std::cout << ", after rollback " << cache.length() << (back ? "" : " (refused)") << "\n";

  auto other = cache.fork();  // two continuations of one beginning
  const heed::Matrix<float> again = model.forward(x.row(9), cache);
  const heed::Matrix<float> elsewhere = model.forward(x.row(11), other);
  auto replay = model.make_cache({.positions = 256, .rows = 10});
  const heed::Matrix<float> whole = model.forward(x.topRows(10), replay);
  std::cout << "after rollback as if never fed: " << std::boolalpha << again.isApprox(whole.bottomRows(1), 1e-4f) << "\n";
  std::cout << "the fork went its own way:      " << !elsewhere.isApprox(again, 1e-4f) << "\n";
  std::cout << "planned bytes are allocated:    " << (heed::planned_cache_bytes(model, 256) == cache.bytes()) << "\n";
}
