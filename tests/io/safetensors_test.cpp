// Tensor files: what is written is read, what is hostile is refused with a CheckpointError, what fails changes nothing.
#include "heed/io/safetensors.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace {

using heed::CheckpointError;
using heed::Index;
using heed::Matrix;
using heed::Role;
namespace io = heed::io;
namespace fs = std::filesystem;

/// A folder of its own for every test, removed when the test ends.
class Safetensors : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("heed_safetensors_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = folder_ / "weights.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_, path_;
};

std::string bytes_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_bytes(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string little_endian(std::uint64_t number) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>((number >> (8 * i)) & 0xff);
  return bytes;
}

/// A file with this header, its true length before it and `data` zero bytes behind it.
void write_file(const fs::path& path, const std::string& header, std::size_t data) {
  write_bytes(path, little_endian(header.size()) + header + std::string(data, '\0'));
}

/// The text of the CheckpointError that the action raises; empty, and a failure, if it raises none.
template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected a CheckpointError";
  return {};
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "expected \"" << part << "\" in \"" << text << "\"";
}

template <class Scalar>
struct Weights {
  Matrix<Scalar> w, norm;

  template <class F, class P, class... Others>
  static void visit(F&& f, P& params, Others&... others) {
    f("w", Role::matrix, params.w, others.w...);
    f("norm", Role::norm, params.norm, others.norm...);
  }
};

template <class Scalar>
Weights<Scalar> some_weights() {
  Weights<Scalar> weights{Matrix<Scalar>(3, 5), Matrix<Scalar>(1, 7)};
  for (Index i = 0; i < weights.w.size(); ++i) weights.w.data()[i] = Scalar(1) / Scalar(i + 1);
  for (Index i = 0; i < weights.norm.size(); ++i) weights.norm.data()[i] = Scalar(-i);
  return weights;
}

template <class Scalar>
Weights<Scalar> zero_weights() {
  return heed::zeros_like(some_weights<Scalar>());
}

template <class Scalar>
bool is_zero(const Weights<Scalar>& weights) {
  return weights.w.isZero(0) && weights.norm.isZero(0);
}

TEST_F(Safetensors, loads_what_was_saved_in_both_scalars) {
  io::save(path_, some_weights<float>());
  auto single = zero_weights<float>();
  io::load(path_, single);
  EXPECT_EQ(single.w, some_weights<float>().w);
  EXPECT_EQ(single.norm, some_weights<float>().norm);

  io::save(path_, some_weights<double>());
  auto twice = zero_weights<double>();
  io::load(path_, twice);
  EXPECT_EQ(twice.w, some_weights<double>().w);
  EXPECT_EQ(twice.norm, some_weights<double>().norm);
}

/// One weight that can be stored in 16 bits beside a norm that cannot.
struct Narrowable {
  heed::Weight<float> w;
  Matrix<float> norm;

  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("w", Role::matrix, p.w...);
    f("norm", Role::norm, p.norm...);
  }
};
Narrowable in_storage(heed::Storage storage) {
  const auto weights = some_weights<float>();
  Narrowable params{weights.w, weights.norm};
  params.w.store(storage);
  return params;
}

TEST_F(Safetensors, saves_weights_of_16_bits_as_they_are_and_loads_them_into_any_storage) {
  for (const heed::Storage saved : {heed::Storage::bfloat16, heed::Storage::half}) {
    io::save(path_, in_storage(saved));
    const io::TensorFile file = io::read_safetensors(path_);
    EXPECT_EQ(file.tensors.at("w").type, saved == heed::Storage::bfloat16 ? io::DataType::bf16 : io::DataType::f16);
    EXPECT_EQ(file.tensors.at("w").bytes.size(), 2u * 15);
    EXPECT_EQ(file.tensors.at("norm").type, io::DataType::f32);

    Narrowable widened = in_storage(saved);
    widened.w.store(heed::Storage::arithmetic);
    EXPECT_EQ(file.matrix<float>("w"), static_cast<const Matrix<float>&>(widened.w));
    for (const heed::Storage into : {heed::Storage::arithmetic, heed::Storage::bfloat16, heed::Storage::half}) {
      Narrowable read = in_storage(into), expected = widened;
      read.w.setZero();
      io::load(path_, read);
      expected.w.store(into);
      EXPECT_EQ(read.w.storage(), into);
      read.w.store(heed::Storage::arithmetic), expected.w.store(heed::Storage::arithmetic);
      EXPECT_EQ(static_cast<const Matrix<float>&>(read.w), static_cast<const Matrix<float>&>(expected.w));
    }
  }
}

TEST_F(Safetensors, rounds_float_weights_that_are_loaded_into_weights_of_16_bits) {
  io::save(path_, in_storage(heed::Storage::arithmetic));
  Narrowable read = in_storage(heed::Storage::half);
  read.w.setZero();
  io::load(path_, read);
  EXPECT_EQ(read.w.bits(), in_storage(heed::Storage::half).w.bits());
}

TEST_F(Safetensors, keeps_every_bit_of_nan_infinity_and_denormals) {
  Weights<float> weights{Matrix<float>(1, 4), Matrix<float>(0, 3)};
  weights.w << std::bit_cast<float>(0x7fc01234u), -std::numeric_limits<float>::infinity(),
      std::numeric_limits<float>::denorm_min(), -0.0f;
  io::save(path_, weights);
  Weights<float> read{Matrix<float>::Zero(1, 4), Matrix<float>(0, 3)};
  io::load(path_, read);
  for (Index i = 0; i < 4; ++i)
    EXPECT_EQ(std::bit_cast<std::uint32_t>(read.w(0, i)), std::bit_cast<std::uint32_t>(weights.w(0, i)));
}

TEST_F(Safetensors, writes_the_documented_bytes) {
  io::TensorFile file;
  file.metadata["title"] = "a \"b\"";
  file.set("x", Matrix<float>::Constant(1, 2, 1.0f).eval());
  file.set("y", Matrix<double>::Constant(1, 1, 2.0).eval());
  io::write_safetensors(path_, file);
  std::string header = R"({"__metadata__":{"title":"a \"b\""},"y":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]},)"
                       R"("x":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data("\0\0\0\0\0\0\0\x40\0\0\x80\x3f\0\0\x80\x3f", 16);
  EXPECT_EQ(bytes_of(path_), little_endian(header.size()) + header + data);
}

TEST_F(Safetensors, reads_back_metadata_ranks_and_empty_tensors) {
  io::TensorFile file;
  file.metadata = {{"case", "one"}, {"text", std::string("line\nnul\0end \xc3\xa9", 16)}};
  file.tensors["scalar"] = {io::DataType::f32, {}, std::vector<std::byte>(4)};
  file.tensors["vector"] = {io::DataType::f64, {3}, std::vector<std::byte>(24)};
  file.tensors["cube"] = {io::DataType::f32, {2, 1, 2}, std::vector<std::byte>(16)};
  file.tensors["empty"] = {io::DataType::f64, {0, 5}, {}};
  file.tensors["vast and empty"] = {io::DataType::f32, {0, Index(1) << 60}, {}};
  io::write_safetensors(path_, file);
  EXPECT_EQ(io::read_metadata(path_), file.metadata);
  const auto read = io::read_safetensors(path_);
  EXPECT_EQ(read.metadata, file.metadata);
  ASSERT_EQ(read.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    const auto& found = read.tensors.at(name);
    EXPECT_EQ(found.type, tensor.type) << name;
    EXPECT_EQ(found.shape, tensor.shape) << name;
    EXPECT_EQ(found.bytes, tensor.bytes) << name;
  }
  EXPECT_EQ(read.matrix<float>("scalar").size(), 1);
  EXPECT_EQ(read.matrix<double>("vector").cols(), 3);
  EXPECT_EQ(read.matrix<double>("empty").cols(), 5);
  EXPECT_EQ(read.matrix<float>("vast and empty").rows(), 0);
  expect_part(refusal([&] { read.matrix<float>("cube"); }), "cube: expected a matrix of F32, found F32 [2 x 1 x 2]");
  expect_part(refusal([&] { read.matrix<float>("vector"); }), "vector: expected a matrix of F32, found F64 [3]");
  expect_part(refusal([&] { read.matrix<float>("none"); }), "none: expected a tensor, found none");
}

TEST_F(Safetensors, reads_a_file_without_tensors) {
  write_file(path_, "{}", 0);
  EXPECT_TRUE(io::read_safetensors(path_).tensors.empty());
  io::write_safetensors(path_, io::TensorFile());
  EXPECT_TRUE(io::read_safetensors(path_).tensors.empty());
}

TEST_F(Safetensors, reads_data_that_no_number_is_aligned_to) {
  // The header has an odd length, and a double stands behind a float.
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "b":{"data_offsets":[4,12],"shape":[1],"dtype":"F64"}})";
  ASSERT_EQ(header.size() % 2, 1u);
  write_bytes(path_, little_endian(header.size()) + header + std::string("\0\0\x80\x3f\0\0\0\0\0\0\0\x40", 12));
  const auto file = io::read_safetensors(path_);
  EXPECT_EQ(file.matrix<float>("a")(0, 0), 1.0f);
  EXPECT_EQ(file.matrix<double>("b")(0, 0), 2.0);
}

TEST_F(Safetensors, refuses_a_file_torn_at_any_byte) {
  io::save(path_, some_weights<float>(), {{"k", "v"}});
  const std::string whole = bytes_of(path_);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write_bytes(path_, std::string_view(whole).substr(0, length));
    auto weights = zero_weights<float>();
    expect_part(refusal([&] { io::load(path_, weights); }), path_.string());
    EXPECT_TRUE(is_zero(weights)) << "torn at byte " << length;
    refusal([&] { io::read_safetensors(path_); });
  }
}

TEST_F(Safetensors, reads_or_refuses_a_file_with_any_header_byte_changed) {
  io::save(path_, some_weights<float>(), {{"k", "v"}});
  const std::string whole = bytes_of(path_);
  const std::size_t header_end = whole.size() - (15 + 7) * sizeof(float);
  for (std::size_t at = 0; at < header_end; ++at)
    for (const char with : {'\0', '"', '{', '}', '[', '9', '-', '\xff'}) {
      std::string changed = whole;
      changed[at] = with;
      write_bytes(path_, changed);
      try {
        io::read_safetensors(path_);
      } catch (const CheckpointError&) {
      }
    }
}

TEST_F(Safetensors, refuses_every_hostile_header) {
  const std::string good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const auto tensor = [](const std::string& shape, const std::string& offsets, const std::string& type = "F32") {
    return R"({"a":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  struct Hostile {
    std::string header;
    std::size_t data;
    std::string part;
  };
  const std::string deep(100'000, '[');
  std::string deep_objects;
  for (int i = 0; i < 50'000; ++i) deep_objects += R"({"a":)";
  const std::vector<Hostile> files{
      {"", 0, "expected the header to begin with {"},
      {" {}", 0, "expected the header to begin with {"},
      {"\xef\xbb\xbf{}", 0, "expected the header to begin with {"},
      {"[]", 0, "expected the header to begin with {"},
      {"{", 0, "not JSON"},
      {"{}{}", 0, "not JSON"},
      {std::string("{}\0", 3), 0, "not JSON"},
      {"{" + good + ",}", 8, "not JSON"},
      {"{\"\xff\":1}", 0, "not JSON"},
      {"{\"a\xc3\":1}", 0, "not JSON"},
      {R"({"a":1e999})", 0, "not JSON"},
      {R"({"a":"\ud800"})", 0, "not JSON"},
      {deep_objects, 0, "expected dtype, shape or data_offsets, found a"},
      {R"({"a":)" + deep, 0, "expected an object with dtype, shape and data_offsets, found an array"},
      {R"({"a":{"shape":)" + deep, 0, "expected an array of lengths, found an array"},
      {R"({"a":1})", 0, "expected an object with dtype, shape and data_offsets, found a number"},
      {R"({"a":null})", 0, "found null"},
      {R"({"a":{}})", 0, "one of them missing"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "one of them missing"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "found dtype twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8, "found shape twice"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8, "found more"},
      {R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", 8, "expected a dtype, found a number"},
      {R"({"a":{"dtype":{},"shape":[2],"data_offsets":[0,8]}})", 8, "expected a dtype, found an object"},
      {"{" + good + "," + good + "}", 8, "found the name a twice"},
      {R"({"__metadata__":{"k":"v"},"__metadata__":{"k":"v"}})", 0, "found the name __metadata__ twice"},
      {R"({"__metadata__":{"k":"v","k":"v"}})", 0, "found the key k twice"},
      {R"({"__metadata__":{"k":1}})", 0, "expected a text, found a number"},
      {R"({"__metadata__":{"k":{}}})", 0, "expected a text, found an object"},
      {R"({"__metadata__":[]})", 0, "found an array"},
      {tensor("[2]", "[0,8]", "BF16"), 8, "expected 4 bytes for BF16 [2], found 8"},
      {tensor("[2]", "[0,8]", "F16"), 8, "expected 4 bytes for F16 [2], found 8"},
      {tensor("[2]", "[0,8]", "I64"), 8, "expected dtype F32, F64, BF16 or F16, found I64"},
      {tensor("2", "[0,8]"), 8, "expected an array of lengths, found a number"},
      {tensor("[2.0]", "[0,8]"), 8, "found 2.0"},
      {tensor("[-2]", "[0,8]"), 8, "found -2"},
      {tensor("[true]", "[0,8]"), 8, "found a boolean"},
      {tensor("[\"2\"]", "[0,8]"), 8, "found a text"},
      {tensor("[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "expected at most 8 lengths"},
      {tensor("[18446744073709551615]", "[0,8]"), 8, "cannot be counted"},
      {tensor("[18446744073709551616]", "[0,8]"), 8, "found 18446744073709551616"},
      {tensor("[4611686018427387904,4]", "[0,0]"), 0, "more bytes than can be counted"},
      {tensor("[4294967296,4294967296]", "[0,0]"), 0, "more bytes than can be counted"},
      {tensor("[0,4294967296,4294967296]", "[0,0]"), 0, "more bytes than can be counted"},
      {tensor("[2]", "[0]"), 8, "expected two data_offsets, found 1"},
      {tensor("[2]", "[]"), 8, "expected two data_offsets, found 0"},
      {tensor("[2]", "[0,8,8]"), 8, "expected two data_offsets, found more"},
      {tensor("[2]", "[8,0]"), 8, "found [8, 0]"},
      {tensor("[2]", "[0,16]"), 8, "expected offsets within 8 bytes of data, found [0, 16]"},
      {tensor("[2]", "[0,18446744073709551615]"), 8, "expected offsets within 8 bytes"},
      {tensor("[2]", "[18446744073709551608,18446744073709551615]"), 8, "expected offsets within 8 bytes"},
      {tensor("[1000000000000]", "[0,8]"), 8, "expected 4000000000000 bytes for F32 [1000000000000], found 8"},
      {tensor("[1]", "[0,8]"), 8, "expected 4 bytes for F32 [1], found 8"},
      {tensor("[2]", "[0,8]", "F64"), 8, "expected 16 bytes for F64 [2], found 8"},
      {tensor("[2]", "[0,8]"), 9, "expected 8 bytes of data, found 9"},
      {tensor("[2]", "[4,12]"), 12, "expected to begin at byte 0"},
      {"{}", 1, "expected 0 bytes of data, found 1"},
      {"{" + good + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "b: expected to begin at byte 8"},
      {"{" + good + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16, "b: expected to begin at byte 8"},
      {"{" + good + R"(,"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})", 8, "b: expected to begin at byte 8"},
  };
  for (const auto& file : files) {
    write_file(path_, file.header, file.data);
    SCOPED_TRACE(file.header.substr(0, 120));
    const std::string text = refusal([&] { io::read_safetensors(path_); });
    expect_part(text, file.part);
    expect_part(text, path_.string());
  }
}

TEST_F(Safetensors, refuses_a_header_length_beyond_the_file) {
  for (const std::uint64_t length : {std::uint64_t(3), std::uint64_t(1) << 32, std::uint64_t(1) << 63, ~std::uint64_t(0)}) {
    write_bytes(path_, little_endian(length) + "{}");
    expect_part(refusal([&] { io::read_safetensors(path_); }), "expected a header of at most 2 bytes");
  }
}

TEST_F(Safetensors, refuses_a_path_that_is_no_regular_file) {
  expect_part(refusal([&] { io::read_safetensors(folder_); }), "expected a regular file");
  expect_part(refusal([&] { io::read_safetensors(folder_ / "missing"); }), "missing: expected a regular file");
}

TEST_F(Safetensors, load_refuses_what_differs_from_the_model_and_changes_nothing) {
  const auto good = some_weights<float>();
  io::TensorFile file;
  file.set("w", good.w);
  file.set("norm", good.norm);
  const auto refuses = [&](const io::TensorFile& changed, const std::string& part) {
    io::write_safetensors(path_, changed);
    auto weights = zero_weights<float>();
    const std::string text = refusal([&] { io::load(path_, weights); });
    expect_part(text, part);
    expect_part(text, path_.string());
    EXPECT_TRUE(is_zero(weights)) << part;
  };
  auto changed = file;
  changed.tensors.erase("norm");
  refuses(changed, "norm: expected F32 [1 x 7], found no such tensor");
  changed = file;
  changed.set("extra", good.w);
  refuses(changed, "extra: expected no such tensor, found F32 [3 x 5]");
  changed = file;
  changed.set("w", Matrix<float>(good.w.transpose()));
  refuses(changed, "w: expected F32 [3 x 5], found F32 [5 x 3]");
  changed = file;
  changed.tensors["norm"].shape = {7};
  refuses(changed, "norm: expected F32 [1 x 7], found F32 [7]");
  changed = file;
  changed.set("norm", Matrix<double>(good.norm.cast<double>()));
  refuses(changed, "norm: expected F32 [1 x 7], found F64 [1 x 7]");
}

struct SameNames {
  Matrix<float> a = Matrix<float>::Zero(1, 1), b = Matrix<float>::Zero(1, 1);
  template <class F, class P, class... Others>
  static void visit(F&& f, P& params, Others&... others) {
    f("a", Role::matrix, params.a, others.a...);
    f("a", Role::matrix, params.b, others.b...);
  }
};

TEST_F(Safetensors, refuses_a_model_that_uses_a_name_twice) {
  SameNames params;
  expect_part(refusal([&] { io::save(path_, params); }), "a: expected names that differ");
  io::TensorFile file;
  file.set("a", params.a);
  io::write_safetensors(path_, file);
  expect_part(refusal([&] { io::load(path_, params); }), "a: expected the model's names to differ");
}

TEST_F(Safetensors, a_write_that_fails_leaves_the_file_that_was_there) {
  io::save(path_, some_weights<float>());
  const std::string before = bytes_of(path_);
  const auto refuses = [&](const io::TensorFile& file, const std::string& part) {
    expect_part(refusal([&] { io::write_safetensors(path_, file); }), part);
    EXPECT_EQ(bytes_of(path_), before);
    EXPECT_FALSE(fs::exists(path_.string() + ".partial"));
  };
  io::TensorFile file;
  file.tensors["short"] = {io::DataType::f32, {2}, std::vector<std::byte>(4)};
  refuses(file, "short: expected 8 bytes for F32 [2], found 4");
  file.tensors.clear();
  file.tensors["negative"] = {io::DataType::f32, {-1}, {}};
  refuses(file, "negative: expected lengths of 0 or more, found -1");
  file.tensors.clear();
  file.tensors["\xff"] = {io::DataType::f32, {0}, {}};
  refuses(file, "expected UTF-8");
  file.tensors.clear();
  file.tensors["__metadata__"] = {io::DataType::f32, {0}, {}};
  refuses(file, "a tensor cannot have this name");
  file.tensors.clear();
  file.metadata["key"] = "\xc3";
  refuses(file, "expected UTF-8");

  // The file beside the target cannot be made; the target cannot be replaced.
  fs::create_directory(path_.string() + ".partial");
  expect_part(refusal([&] { io::save(path_, some_weights<float>()); }), "cannot be written");
  EXPECT_EQ(bytes_of(path_), before);
  const fs::path taken = folder_ / "taken";
  fs::create_directories(taken / "inside");
  expect_part(refusal([&] { io::save(taken, some_weights<float>()); }), "taken: cannot be written");
  EXPECT_TRUE(fs::exists(taken / "inside"));
  EXPECT_FALSE(fs::exists(folder_ / "taken.partial"));
  expect_part(refusal([&] { io::save(folder_ / "missing" / "w", some_weights<float>()); }), "cannot be written");
}

TEST_F(Safetensors, a_saved_file_replaces_the_old_one_whole) {
  Weights<float> large{Matrix<float>::Ones(64, 64), Matrix<float>::Ones(1, 7)};
  io::save(path_, large);
  io::save(path_, some_weights<float>(), {{"step", "2"}});
  auto weights = zero_weights<float>();
  io::load(path_, weights);
  EXPECT_EQ(weights.w, some_weights<float>().w);
  EXPECT_EQ(io::read_metadata(path_).at("step"), "2");
  EXPECT_FALSE(fs::exists(path_.string() + ".partial"));
}

}  // namespace
