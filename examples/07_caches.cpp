// Drafts that are rejected, beams that replace one another, a conversation that is put aside: with recurrent heads too.
#include <heed/heed.hpp>
#include <iostream>

using Model = heed::Stack<float, heed::Block<heed::StandardAttention>, heed::Block<heed::Mamba2>>;

// Whether the next row gives what it gives when all rows are fed at once.
bool as_if_never_rejected(const Model& model, const heed::Matrix<float>& x, Model::Cache& cache) {
  auto replay = model.make_cache({.positions = 64});
  const heed::Matrix<float> whole = model.forward(x.topRows(cache.length() + 1), replay);
  const heed::Matrix<float> next = model.forward(x.row(cache.length()), cache);
  return next.isApprox(whole.bottomRows(1), 1e-4f);
}

int main() {
  const Model model({.width = 32, .heads = 4, .kv_heads = 2});
  heed::Matrix<float> x(16, 32), drafts(4, 32);
  heed::Random(1, "x").normal(x, 1);
  heed::Random(1, "drafts").normal(drafts, 1);
  std::cout << std::boolalpha;

  // Speculative decoding: a call has rows that were drafted; some are rejected.
  auto cache = model.make_cache({.positions = 64, .rows = 8, .recent_states = 4});
  model.forward(x.topRows(8), cache);
  model.forward(drafts, cache);
  const bool rejected = cache.truncate(0, 9);  // one of the four is good
  std::cout << "three drafts rejected: " << rejected << ", " << cache.length() << " positions\n";
  if (!cache.truncate(0, 8)) return 1;  // nor was that one
  std::cout << "as if never fed: " << as_if_never_rejected(model, x, cache) << "\n";

  // Beam search: beam b goes on from what beam sources[b] was.
  auto beams = model.make_cache({.sequences = 3, .positions = 64, .rows = 8});
  model.forward(x.topRows(9), heed::Sequences({2, 3, 4}), beams);
  const bool reordered = beams.reorder({1, 1, 2});
  std::cout << "beams reordered: " << reordered << ", lengths " << beams.length(0) << " " << beams.length(1) << " "
            << beams.length(2) << "\n";

  // A conversation is put aside, and taken up by another cache of the same options.
  const std::vector<std::byte> saved = cache.save();
  auto later = model.make_cache({.positions = 64, .rows = 8, .recent_states = 4});
  later.load(saved);
  std::cout << "taken up at " << later.length() << " positions: " << as_if_never_rejected(model, x, later) << "\n";

  // Keys and values in 16 bits: for the same bytes, twice the positions.
  const heed::CacheOptions wide{.positions = 4096};
  const heed::CacheOptions narrow{.positions = 4096, .storage = heed::Storage::bfloat16};
  std::cout << "bytes in float " << heed::planned_cache_bytes(model, wide) << ", in bfloat16 "
            << heed::planned_cache_bytes(model, narrow) << "\n";
}
