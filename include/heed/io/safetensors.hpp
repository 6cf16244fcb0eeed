// Files of named tensors in the safetensors format, and a model's own weights saved and loaded through visit.
//
//   file    [ 8 bytes: n, little-endian | n bytes: header, JSON | data ]
//   header  {"__metadata__": {key: text}, name: {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, end]}, ...}
//   data    tensors in row-major order; the offsets count from the first byte of data and leave neither gap nor overlap
//
// A file is checked from the first byte to the last before anything is made of it; whatever does not hold is a
// CheckpointError. No allocation is larger than the file. A file is written beside its target and then renamed.
// Source: https://github.com/huggingface/safetensors, README.md, "Format".
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/weight.hpp"
#include "replace_file.hpp"
#include "safetensors_header.hpp"

namespace heed::inline HEED_ABI::io {

/// A tensor of any rank, in row-major order.
struct Tensor {
  DataType type = DataType::f32;
  std::vector<Index> shape;
  std::vector<std::byte> bytes;
};

/// What a file holds. `path` is what its errors call it.
struct TensorFile {
  Metadata metadata;
  std::map<std::string, Tensor, std::less<>> tensors;
  std::string path;

  /// The tensor as a matrix: rank 2 as it is, rank 1 as [1 x n], rank 0 as [1 x 1]. CheckpointError if it is not there, has
  /// a higher rank or holds another type; numbers of 16 bits are widened.
  template <class Scalar>
  Matrix<Scalar> matrix(std::string_view name) const;

  /// Keeps a copy of any matrix, row by row.
  template <class Derived>
  void set(std::string name, const Eigen::MatrixBase<Derived>& matrix);
  /// The same of a weight, as it is stored.
  template <class Scalar>
  void set(std::string name, const Weight<Scalar>& weight);
};

namespace detail {

/// A file whose header was read and found whole; its data is still on disk.
class CheckedFile {
 public:
  explicit CheckedFile(const std::filesystem::path& path) : path_(path.string()) {
    std::error_code error;
    HEED_EXPECTS(CheckpointError, std::filesystem::is_regular_file(path, error), path_,
                 ": expected a regular file, found none");
    const std::uint64_t size = std::filesystem::file_size(path, error);
    HEED_EXPECTS(CheckpointError, !error, path_, ": ", error.message());
    stream_.open(path, std::ios::binary);
    HEED_EXPECTS(CheckpointError, stream_.is_open(), path_, ": cannot be opened");

    std::uint64_t length = 0;
    HEED_EXPECTS(CheckpointError, size >= sizeof length, path_, ": expected the 8 bytes of the header's length, found ",
                 size);
    read(&length, sizeof length);
    const std::uint64_t most = (std::min)(size - sizeof length, longest_header);
    HEED_EXPECTS(CheckpointError, length <= most, path_, ": expected a header of at most ", most, " bytes, found ", length);
    std::string text(static_cast<std::size_t>(length), '\0');
    read(text.data(), length);
    HEED_EXPECTS(CheckpointError, text.starts_with('{'), path_, ": expected the header to begin with {");
    HEED_EXPECTS(CheckpointError, text.find('\0') == std::string::npos, path_,
                 ": the header is not JSON, it holds a zero byte");  // which the parser takes for the end
    HeaderReader reader(path_, header_);
    nlohmann::json::sax_parse(text, &reader);
    data_begin_ = sizeof length + length;
    check_layout(path_, header_, size - data_begin_);
  }

  const std::string& path() const { return path_; }
  const Header& header() const { return header_; }

  std::vector<std::byte> bytes(const Entry& entry) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(entry.end - entry.begin));
    stream_.seekg(static_cast<std::streamoff>(data_begin_ + entry.begin));
    read(bytes.data(), bytes.size());
    return bytes;
  }

 private:
  void read(void* target, std::uint64_t bytes) {
    stream_.read(static_cast<char*>(target), static_cast<std::streamsize>(bytes));
    HEED_EXPECTS(CheckpointError, stream_.good(), path_, ": expected ", bytes, " more bytes, found ", stream_.gcount());
  }

  std::string path_;
  std::ifstream stream_;
  Header header_;
  std::uint64_t data_begin_ = 0;
};

/// The text as JSON writes it. Text that is not UTF-8 would come back changed, so it is refused.
inline std::string quoted(const std::string& where, const std::string& text) {
  const auto replace = nlohmann::json::error_handler_t::replace;
  std::string json = nlohmann::json(text).dump(-1, ' ', false, replace);
  HEED_EXPECTS(CheckpointError, nlohmann::json::parse(json, nullptr, false) == text, where, ": expected UTF-8, found ",
               json);
  return json;
}

/// A tensor to save: where a model keeps it.
struct Slot {
  std::string name;
  DataType type;
  std::vector<Index> shape;
  const std::byte* data;
  std::size_t size;  // bytes
};

template <class Scalar>
Slot slot_of(std::string name, const Matrix<Scalar>& tensor) {
  return {std::move(name),
          type_of<Scalar>(),
          {tensor.rows(), tensor.cols()},
          reinterpret_cast<const std::byte*>(tensor.data()),
          static_cast<std::size_t>(tensor.size()) * sizeof(Scalar)};
}
template <class Scalar>
Slot slot_of(std::string name, const Weight<Scalar>& tensor) {
  if (!tensor.is_narrow()) return slot_of<Scalar>(std::move(name), static_cast<const Matrix<Scalar>&>(tensor));
  return {std::move(name),
          type_of<Scalar>(tensor.storage()),
          {tensor.rows(), tensor.cols()},
          reinterpret_cast<const std::byte*>(tensor.bits().data()),
          static_cast<std::size_t>(tensor.bytes())};
}

inline Tensor tensor_of(const Slot& slot) {
  return {slot.type, slot.shape, {slot.data, slot.data + slot.size}};
}

/// [rows x cols] numbers in 16 bits, as they are in a file.
inline Matrix<std::uint16_t> bits_of(const std::vector<std::byte>& bytes, Index rows, Index cols) {
  Matrix<std::uint16_t> bits(rows, cols);
  if (!bytes.empty()) std::memcpy(bits.data(), bytes.data(), bytes.size());
  return bits;
}

/// tensor = the bytes of a file: numbers of the tensor's own scalar, or of 16 bits, which are widened.
template <class Scalar>
void set(Matrix<Scalar>& tensor, DataType type, const std::vector<std::byte>& bytes) {
  if (bytes.empty()) return;
  if (type == type_of<Scalar>())
    std::memcpy(tensor.data(), bytes.data(), bytes.size());
  else
    widen(storage_of(type), bits_of(bytes, tensor.rows(), tensor.cols()).data(), tensor.size(), tensor.data());
}
/// The same for a tensor that may be stored in 16 bits, and stays so.
template <class Scalar>
void set(Weight<Scalar>& tensor, DataType type, const std::vector<std::byte>& bytes) {
  if (!tensor.is_narrow()) return set<Scalar>(static_cast<Matrix<Scalar>&>(tensor), type, bytes);
  if (storage_of(type) == tensor.storage())
    return tensor.set_bits(tensor.storage(), bits_of(bytes, tensor.rows(), tensor.cols()));
  Matrix<Scalar> numbers(tensor.rows(), tensor.cols());
  set<Scalar>(numbers, type, bytes);
  tensor = numbers;
}

/// A tensor to load into.
struct Target {
  std::string name;
  DataType type;  // of its arithmetic; numbers of 16 bits become these
  std::vector<Index> shape;
  std::function<void(DataType, const std::vector<std::byte>&)> set;

  bool takes(const Entry& entry) const {
    return (entry.type == type || storage_of(entry.type) != Storage::arithmetic) && entry.shape == shape;
  }
};

template <class Params>
std::vector<Slot> slots_of(const Params& params) {
  std::vector<Slot> slots;
  heed::visit([&](std::string_view name, Role, const auto& tensor) { slots.push_back(slot_of(std::string(name), tensor)); },
              params);
  return slots;
}

template <class Params>
std::vector<Target> targets_of(Params& params) {
  std::vector<Target> targets;
  heed::visit(
      [&](std::string_view name, Role, auto& tensor) {
        using Scalar = typename std::remove_cvref_t<decltype(tensor)>::Scalar;
        targets.push_back(
            {std::string(name),
             type_of<Scalar>(),
             {tensor.rows(), tensor.cols()},
             [&tensor](DataType type, const std::vector<std::byte>& bytes) { detail::set(tensor, type, bytes); }});
      },
      params);
  return targets;
}

/// CheckpointError unless the file has a tensor of this name that the target takes.
inline void expects_entry(const CheckedFile& file, const Target& target) {
  const auto& entries = file.header().entries;
  const auto found = entries.find(target.name);
  HEED_EXPECTS(CheckpointError, found != entries.end(), file.path(), ": ", target.name, ": expected ",
               text_of(target.type, target.shape), ", found no such tensor");
  HEED_EXPECTS(CheckpointError, target.takes(found->second), file.path(), ": ", target.name, ": expected ",
               text_of(target.type, target.shape), ", found ", text_of(found->second.type, found->second.shape));
}

/// All tensors of the file are those of the targets, by name, type and shape. Only then is anything written.
inline void fill(const std::filesystem::path& path, const std::vector<Target>& targets) {
  CheckedFile file(path);
  const auto& entries = file.header().entries;
  std::set<std::string_view> names;
  for (const auto& target : targets) {
    HEED_EXPECTS(CheckpointError, names.insert(target.name).second, file.path(), ": ", target.name,
                 ": expected the model's names to differ, found this one twice");
    expects_entry(file, target);
  }
  for (const auto& [name, entry] : entries)
    HEED_EXPECTS(CheckpointError, names.contains(name), file.path(), ": ", name, ": expected no such tensor, found ",
                 text_of(entry.type, entry.shape));

  std::vector<std::vector<std::byte>> read;
  for (const auto& target : targets) read.push_back(file.bytes(entries.find(target.name)->second));
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i].set(entries.find(targets[i].name)->second.type, read[i]);
}

/// Writes slots in order of decreasing number size, so that every tensor is aligned to its numbers.
inline void write(const std::filesystem::path& path, std::vector<Slot> slots, const Metadata& metadata) {
  const std::string target = path.string();
  std::stable_sort(slots.begin(), slots.end(),
                   [](const auto& a, const auto& b) { return describe(a.type).size > describe(b.type).size; });

  std::string items;
  const auto append = [](std::string& list, const std::string& item) {
    if (!list.empty()) list += ',';
    list += item;
  };
  if (!metadata.empty()) {
    std::string texts;
    for (const auto& [key, text] : metadata) append(texts, quoted(target, key) + ":" + quoted(target, text));
    append(items, quoted(target, std::string(metadata_key)) + ":{" + texts + "}");
  }
  std::set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const auto& slot : slots) {
    const std::string where = target + ": " + slot.name;
    HEED_EXPECTS(CheckpointError, slot.name != metadata_key, where, ": a tensor cannot have this name");
    HEED_EXPECTS(CheckpointError, names.insert(slot.name).second, where,
                 ": expected names that differ, found this one twice");
    HEED_EXPECTS(CheckpointError, slot.shape.size() <= highest_rank, where, ": expected at most ", highest_rank,
                 " lengths, found ", slot.shape.size());
    const std::uint64_t expected = bytes_of(where, slot.type, slot.shape);
    HEED_EXPECTS(CheckpointError, slot.size == expected, where, ": expected ", expected, " bytes for ",
                 text_of(slot.type, slot.shape), ", found ", slot.size);
    std::string shape;
    for (const Index length : slot.shape) append(shape, std::to_string(length));
    append(items, quoted(where, slot.name) + ":{\"dtype\":\"" + std::string(describe(slot.type).name) + "\",\"shape\":[" +
                      shape + "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + slot.size) +
                      "]}");
    offset += slot.size;
  }
  std::string header = "{" + items + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  HEED_EXPECTS(CheckpointError, header.size() <= longest_header, target, ": expected a header of at most ", longest_header,
               " bytes, found ", header.size());

  replace_file<CheckpointError>(path, [&](std::ostream& stream) {
    const std::uint64_t length = header.size();
    stream.write(reinterpret_cast<const char*>(&length), sizeof length);
    stream.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const auto& slot : slots)
      if (slot.size > 0) stream.write(reinterpret_cast<const char*>(slot.data), static_cast<std::streamsize>(slot.size));
  });
}

}  // namespace detail

template <class Scalar>
Matrix<Scalar> TensorFile::matrix(std::string_view name) const {
  const auto found = tensors.find(name);
  HEED_EXPECTS(CheckpointError, found != tensors.end(), path, ": ", name, ": expected a tensor, found none");
  const Tensor& tensor = found->second;
  const bool is_narrow = detail::storage_of(tensor.type) != Storage::arithmetic;
  HEED_EXPECTS(CheckpointError, (is_narrow || tensor.type == detail::type_of<Scalar>()) && tensor.shape.size() <= 2, path,
               ": ", name, ": expected a matrix of ", detail::describe(detail::type_of<Scalar>()).name, ", found ",
               detail::text_of(tensor.type, tensor.shape));
  const std::uint64_t bytes = detail::bytes_of(path + ": " + found->first, tensor.type, tensor.shape);
  HEED_EXPECTS(CheckpointError, tensor.bytes.size() == bytes, path, ": ", name, ": expected ", bytes, " bytes, found ",
               tensor.bytes.size());
  Matrix<Scalar> matrix(tensor.shape.size() < 2 ? 1 : tensor.shape.front(), tensor.shape.empty() ? 1 : tensor.shape.back());
  detail::set(matrix, tensor.type, tensor.bytes);
  return matrix;
}

template <class Derived>
void TensorFile::set(std::string name, const Eigen::MatrixBase<Derived>& matrix) {
  using Scalar = typename Derived::Scalar;
  const Matrix<Scalar> rows = matrix;
  const detail::Slot slot = detail::slot_of(std::move(name), rows);
  tensors.insert_or_assign(slot.name, detail::tensor_of(slot));
}

template <class Scalar>
void TensorFile::set(std::string name, const Weight<Scalar>& weight) {
  const detail::Slot slot = detail::slot_of(std::move(name), weight);
  tensors.insert_or_assign(slot.name, detail::tensor_of(slot));
}

/// Everything a file holds. CheckpointError, naming file, tensor, expected and found, if it is not a whole safetensors file
/// of F32, F64, BF16 and F16 tensors.
inline TensorFile read_safetensors(const std::filesystem::path& path) {
  detail::CheckedFile file(path);
  TensorFile result{file.header().metadata, {}, file.path()};
  for (const auto& [name, entry] : file.header().entries)
    result.tensors.emplace(name, Tensor{entry.type, entry.shape, file.bytes(entry)});
  return result;
}

/// The texts of a file, without reading its tensors: what a program needs to know before it can make the model.
inline Metadata read_metadata(const std::filesystem::path& path) {
  return detail::CheckedFile(path).header().metadata;
}

/// Writes `path.partial` and renames it to `path`, so that a write cut short leaves the file that was there. One writer per
/// path. CheckpointError if the tensors are not what their shapes say, a name is not UTF-8, or the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  std::vector<detail::Slot> slots;
  for (const auto& [name, tensor] : file.tensors)
    slots.push_back({name, tensor.type, tensor.shape, tensor.bytes.data(), tensor.bytes.size()});
  detail::write(path, std::move(slots), file.metadata);
}

/// Saves every tensor that `visit(f, params)` names, as [rows x cols] under its name and as it is stored: weights in 16
/// bits as BF16 or F16. Writes as write_safetensors does.
template <class Params>
void save(const std::filesystem::path& path, const Params& params, const Metadata& metadata = {}) {
  detail::write(path, detail::slots_of(params), metadata);
}

/// Loads every tensor that `visit(f, params)` names. The file must hold these tensors and no others, each of the same type
/// and shape; otherwise CheckpointError names file, tensor, expected and found, and params are as they were. BF16 and F16
/// are taken too, widened; and what is loaded into weights that are stored in 16 bits is rounded to those.
template <class Params>
void load(const std::filesystem::path& path, Params&& params) {
  detail::fill(path, detail::targets_of(params));
}

}  // namespace heed::inline HEED_ABI::io
