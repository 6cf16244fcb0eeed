// Decode: one new row of one sequence over caches as layers keep them, every head's rows one after another. Bytes are those
// of keys and values, once.
#include <heed/ops/operand.hpp>
#include <memory>

#include "attend_sizes.hpp"
#include "oracle.hpp"
#include "row.hpp"

namespace limits {
namespace {

/// Keys or values of all kv heads: [G S x E].
struct Cache {
  heed::Storage storage;
  bench::HugeMatrix<float> numbers;
  bench::HugeMatrix<std::uint16_t> narrow;

  Cache(const AttendSizes& of, heed::Storage stored, const char* name) : storage(stored) {
    numbers = random(of.kv_heads * of.keys, of.width, name);
    if (storage == heed::Storage::arithmetic) return;
    narrow = bench::HugeMatrix<std::uint16_t>(numbers.rows(), numbers.cols());
    const Index size = numbers.rows() * numbers.cols();
    heed::narrow(storage, numbers.data(), size, narrow.mutable_view().data());
    heed::widen(storage, narrow.data(), size, numbers.mutable_view().data());  // what the oracle reads
  }
  double bytes() const { return static_cast<double>(numbers.rows() * numbers.cols() * heed::bytes_of<float>(storage)); }
  heed::HeadRows<float> head(const AttendSizes& of, Index g) const {
    heed::HeadRows<float> rows{.rows = of.keys, .width = of.width, .stride = of.width};
    const Index at = g * of.keys * of.width;
    rows.storage = storage;
    if (storage == heed::Storage::arithmetic)
      rows.data = numbers.data() + at;
    else
      rows.narrow = narrow.data() + at;
    return rows;
  }
};

struct Decode {
  AttendSizes sizes;
  Cache k, v;
  Matrix<float> q, o, log_sum_exp;
  heed::Sequences sequences{1};
  heed::Arena arena;
  heed::HeadTable<heed::HeadRows<float>> k_heads, v_heads;

  Decode(const AttendSizes& of, heed::Storage storage)
      : sizes(of),
        k(of, storage, "k"),
        v(of, storage, "v"),
        q(random(1, of.heads * of.width, "q").view()),
        o(Matrix<float>::Zero(1, of.heads * of.width)),
        log_sum_exp(1, of.heads) {
    k_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, of.kv_heads);
    v_heads = heed::HeadTable<heed::HeadRows<float>>::make(arena, 1, of.kv_heads);
    for (Index g = 0; g < of.kv_heads; ++g) {
      k_heads.at(0, g) = k.head(of, g);
      v_heads.at(0, g) = v.head(of, g);
    }
  }
  double bytes() const { return k.bytes() + v.bytes(); }
  void run(heed::Workers& workers) {
    o.setZero();
    const heed::Computed<float> a{heed::view_of(q),
                                  k_heads,
                                  heed::causal(),
                                  1 / std::sqrt(static_cast<float>(sizes.width)),
                                  heed::mutable_view_of(log_sum_exp),
                                  {}};
    heed::attend(a, v_heads, sequences, heed::mutable_view_of(o), workers);
  }
  std::string check(heed::Workers& workers) {
    run(workers);
    for (const Index head : {Index(0), sizes.heads / 2, sizes.heads - 1}) {
      const Index g = head / (sizes.heads / sizes.kv_heads), at = g * sizes.keys * sizes.width, E = sizes.width;
      const HeadOperands of{
          q.data() + head * E, k.numbers.data() + at, v.numbers.data() + at, q.cols(), E, E, sizes.keys, E, heed::causal()};
      if (std::string wrong = of.check("head " + std::to_string(head), 0, sizes.keys - 1, o.data() + head * E);
          !wrong.empty())
        return wrong;
    }
    return {};
  }
};

AttendSizes decode_sizes(AttendSizes sizes, Scale scale) {
  if (scale == Scale::small) sizes.keys = (std::min)(sizes.keys, Index(1031));
  return sizes;
}

Row decode_row(const std::string& workload, const AttendSizes& sizes, Rate rate, const std::string& of, double must,
               double aim) {
  return {.workload = workload,
          .unit = "of the " + of + " read rate",
          .must = must,
          .aim = aim,
          .rate = rate,
          .limit_of = of + " read rate",
          .limit_unit = "GB/s",
          .expected_seconds = 4,
          .prepare = [=](Scale scale, heed::Pool& pool) {
            auto workers = std::make_shared<heed::Workers>(pool);
            auto made = std::make_shared<Decode>(decode_sizes(sizes, scale), heed::Storage::arithmetic);
            return Prepared{.check = [=] { return made->check(*workers); },
                            .runs = {[=] { made->run(*workers); }},
                            .figure = [=](const std::vector<double>& seconds,
                                          double per_second) { return made->bytes() / seconds[0] / per_second; }};
          }};
}

}  // namespace

std::vector<Row> decode_rows() {
  const AttendSizes long_cache{32768, 32, 8, 128};
  return {decode_row("decode, 32 over 8 heads x 128, 32k positions, f32 cache", long_cache, Rate::dram, "DRAM", 0.85, 0.95),
          decode_row("decode, 16 heads x 64, 1k positions, f32 cache", {1024, 16, 16, 64}, Rate::l3, "L3", 0.95, 1.1),
          {.workload = "decode, 32 over 8 heads x 128, 32k positions, bf16 cache",
           .unit = "x faster than the f32 cache",
           .must = 1.7,
           .aim = 1.9,
           .rate = {},
           .limit_of = "bytes of f32 over those of bf16",
           .limit_unit = "x",
           .expected_seconds = 6,
           .prepare =
               [=](Scale scale, heed::Pool& pool) {
                 auto workers = std::make_shared<heed::Workers>(pool);
                 auto wide = std::make_shared<Decode>(decode_sizes(long_cache, scale), heed::Storage::arithmetic);
                 auto narrow = std::make_shared<Decode>(decode_sizes(long_cache, scale), heed::Storage::bfloat16);
                 return Prepared{
                     .check =
                         [=] {
                           wide->run(*workers);
                           return narrow->check(*workers);
                         },
                     .runs = {[=] { wide->run(*workers); }, [=] { narrow->run(*workers); }},
                     .figure = [](const std::vector<double>& seconds, double) { return seconds[0] / seconds[1]; }};
               },
           .fixed_limit = 2}};
}

}  // namespace limits
