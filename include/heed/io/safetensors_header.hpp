// The header of a safetensors file: parsed, and checked against the bytes that follow it.
//
//   header  {"__metadata__": {key: text}, name: {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, end]}, ...}
//
// The file may be hostile: depth, duplicates, overflow, gaps and overlaps are refused where they are met, each with a
// CheckpointError that names file, tensor, expected and found.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/storage.hpp"

static_assert(std::endian::native == std::endian::little,
              "heed: tensor files are read and written on little-endian machines");

namespace heed::inline HEED_ABI::io {

/// How the numbers of a tensor are stored. Other types of the format are refused by name.
enum class DataType { f32, f64, bf16, f16 };

using Metadata = std::map<std::string, std::string, std::less<>>;

namespace detail {

/// Bounds on what a file may claim, so that a hostile one costs little: the first is that of the format's own library.
inline constexpr std::uint64_t longest_header = 100'000'000;
inline constexpr std::size_t highest_rank = 8;
inline constexpr std::string_view metadata_key = "__metadata__";

struct TypeName {
  DataType type;
  std::string_view name;
  std::uint64_t size;  // bytes of one number
};
inline constexpr std::array<TypeName, 4> type_names{{{DataType::f32, "F32", 4},
                                                     {DataType::f64, "F64", 8},
                                                     {DataType::bf16, "BF16", 2},
                                                     {DataType::f16, "F16", 2}}};  // by number

inline const TypeName& describe(DataType type) {
  return type_names[static_cast<std::size_t>(type)];
}

template <class Scalar>
constexpr DataType type_of() {
  static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>,
                "heed: tensors are float or double; what they are stored in is a Storage");
  return std::is_same_v<Scalar, float> ? DataType::f32 : DataType::f64;
}
template <class Scalar>
constexpr DataType type_of(Storage storage) {
  if (storage == Storage::bfloat16) return DataType::bf16;
  return storage == Storage::half ? DataType::f16 : type_of<Scalar>();
}
constexpr Storage storage_of(DataType type) {
  if (type == DataType::bf16) return Storage::bfloat16;
  return type == DataType::f16 ? Storage::half : Storage::arithmetic;
}

/// "F32 [3 x 4]"
inline std::string text_of(DataType type, const std::vector<Index>& shape) {
  std::string text = std::string(describe(type).name) + " [";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += " x ";
    text += std::to_string(shape[axis]);
  }
  return text + "]";
}

/// Where a tensor's bytes are.
struct Entry {
  DataType type = DataType::f32;
  std::vector<Index> shape;
  std::uint64_t begin = 0, end = 0;
};

struct Header {
  Metadata metadata;
  std::map<std::string, Entry, std::less<>> entries;
};

/// The bytes that a shape needs; zero lengths are legal, but the other lengths alone must not overflow either.
inline std::uint64_t bytes_of(const std::string& where, DataType type, const std::vector<Index>& shape) {
  const auto most = static_cast<std::uint64_t>((std::numeric_limits<Index>::max)());
  std::uint64_t bytes = describe(type).size;
  bool empty = false;
  for (const Index length : shape) {
    HEED_EXPECTS(CheckpointError, length >= 0, where, ": expected lengths of 0 or more, found ", length);
    empty = empty || length == 0;
    const std::uint64_t factor = length == 0 ? 1 : static_cast<std::uint64_t>(length);
    HEED_EXPECTS(CheckpointError, bytes <= most / factor, where, ": the shape ", text_of(type, shape),
                 " has more bytes than can be counted");
    bytes *= factor;
  }
  return empty ? 0 : bytes;
}

/// Reads the header as the parser walks it. Nothing is kept that the format does not have, so depth and duplicates are
/// refused where they begin.
class HeaderReader {
 public:
  using json = nlohmann::json;

  HeaderReader(const std::string& path, Header& header) : path_(path), header_(header) {}

  bool start_object(std::size_t) {
    if (place_ == Place::start)
      place_ = Place::file;
    else if (place_ == Place::entry_value)
      place_ = name_ == metadata_key ? Place::metadata : Place::entry;
    else
      unexpected("an object");
    return true;
  }
  bool end_object() {
    if (place_ == Place::entry) {
      HEED_EXPECTS(CheckpointError, has_type_ && has_shape_ && has_offsets_, where(),
                   ": expected dtype, shape and data_offsets, found one of them missing");
      header_.entries.emplace(name_, std::exchange(entry_, {}));
      has_type_ = has_shape_ = has_offsets_ = false;
    }
    place_ = place_ == Place::file ? Place::end : Place::file;
    return true;
  }
  bool key(std::string& key) {
    if (place_ == Place::file) {
      HEED_EXPECTS(CheckpointError, names_.insert(key).second, path_, ": found the name ", key, " twice");
      name_ = key;
      place_ = Place::entry_value;
    } else if (place_ == Place::metadata) {
      HEED_EXPECTS(CheckpointError, !header_.metadata.contains(key), where(), ": found the key ", key, " twice");
      key_ = key;
      place_ = Place::metadata_value;
    } else if (key == "dtype") {
      once(has_type_, key, Place::type);
    } else if (key == "shape") {
      once(has_shape_, key, Place::shape);
    } else if (key == "data_offsets") {
      once(has_offsets_, key, Place::offsets);
    } else {
      heed::fail<CheckpointError>(where(), ": expected dtype, shape or data_offsets, found ", key);
    }
    return true;
  }
  bool start_array(std::size_t) {
    if ((place_ != Place::shape && place_ != Place::offsets) || in_array_) unexpected("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() {
    HEED_EXPECTS(CheckpointError, place_ != Place::offsets || count_ == 2, where(), ": expected two data_offsets, found ",
                 count_);
    in_array_ = false;
    count_ = 0;
    place_ = Place::entry;
    return true;
  }
  bool number_unsigned(json::number_unsigned_t number) {
    if (!in_array_) unexpected("a number");
    if (place_ == Place::shape) {
      HEED_EXPECTS(CheckpointError, count_ < highest_rank, where(), ": expected at most ", highest_rank,
                   " lengths, found more");
      HEED_EXPECTS(CheckpointError, number <= static_cast<std::uint64_t>((std::numeric_limits<Index>::max)()), where(),
                   ": a length of ", number, " cannot be counted");
      entry_.shape.push_back(static_cast<Index>(number));
    } else {
      HEED_EXPECTS(CheckpointError, count_ < 2, where(), ": expected two data_offsets, found more");
      (count_ == 0 ? entry_.begin : entry_.end) = number;
    }
    ++count_;
    return true;
  }
  bool string(std::string& text) {
    if (place_ == Place::metadata_value) {
      header_.metadata.emplace(key_, text);
      place_ = Place::metadata;
    } else if (place_ == Place::type) {
      const auto found =
          std::find_if(type_names.begin(), type_names.end(), [&](const TypeName& t) { return t.name == text; });
      HEED_EXPECTS(CheckpointError, found != type_names.end(), where(), ": expected dtype F32, F64, BF16 or F16, found ",
                   text);
      entry_.type = found->type;
      place_ = Place::entry;
    } else {
      unexpected("a text");
    }
    return true;
  }
  bool number_integer(json::number_integer_t number) { unexpected(std::to_string(number)); }
  bool number_float(json::number_float_t, const std::string& number) { unexpected(number); }
  bool boolean(bool) { unexpected("a boolean"); }
  bool null() { unexpected("null"); }
  bool binary(json::binary_t&) { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const json::exception& error) {
    heed::fail<CheckpointError>(path_, ": the header is not JSON at its byte ", position, " (", error.what(), ")");
  }

 private:
  enum class Place { start, file, entry_value, entry, type, shape, offsets, metadata, metadata_value, end };

  std::string where() const { return path_ + ": " + name_; }
  [[noreturn]] void unexpected(std::string_view what) const {
    static constexpr std::array<std::string_view, 10> expected{"the header's object",
                                                               "a name",
                                                               "an object with dtype, shape and data_offsets",
                                                               "dtype, shape or data_offsets",
                                                               "a dtype",
                                                               "an array of lengths",
                                                               "an array of two offsets",
                                                               "a key",
                                                               "a text",
                                                               "the end"};
    heed::fail<CheckpointError>(where(), ": expected ", expected[static_cast<std::size_t>(place_)], ", found ", what);
  }
  void once(bool& seen, const std::string& key, Place place) {
    HEED_EXPECTS(CheckpointError, !seen, where(), ": found ", key, " twice");
    seen = true;
    place_ = place;
  }

  const std::string& path_;
  Header& header_;
  Place place_ = Place::start;
  std::set<std::string, std::less<>> names_;
  std::string name_, key_;
  Entry entry_;
  bool has_type_ = false, has_shape_ = false, has_offsets_ = false, in_array_ = false;
  std::size_t count_ = 0;  // numbers seen in the array
};

/// Every tensor's offsets hold exactly its shape's bytes, and together they cover the data without gap or overlap.
inline void check_layout(const std::string& path, const Header& header, std::uint64_t data_bytes) {
  std::vector<std::pair<const std::string*, const Entry*>> order;
  for (const auto& [name, entry] : header.entries) {
    const std::string where = path + ": " + name;
    HEED_EXPECTS(CheckpointError, entry.begin <= entry.end && entry.end <= data_bytes, where, ": expected offsets within ",
                 data_bytes, " bytes of data, found [", entry.begin, ", ", entry.end, "]");
    const std::uint64_t expected = bytes_of(where, entry.type, entry.shape);
    HEED_EXPECTS(CheckpointError, entry.end - entry.begin == expected, where, ": expected ", expected, " bytes for ",
                 text_of(entry.type, entry.shape), ", found ", entry.end - entry.begin);
    order.emplace_back(&name, &entry);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  std::uint64_t covered = 0;
  for (const auto& [name, entry] : order) {
    HEED_EXPECTS(CheckpointError, entry->begin == covered, path, ": ", *name, ": expected to begin at byte ", covered,
                 " of the data, where the tensor before it ends, found ", entry->begin);
    covered = entry->end;
  }
  HEED_EXPECTS(CheckpointError, covered == data_bytes, path, ": expected ", covered, " bytes of data, found ", data_bytes);
}

}  // namespace detail

}  // namespace heed::inline HEED_ABI::io
