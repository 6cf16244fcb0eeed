// A whole cache as one block of bytes: where its sequences stand, the rows and states in use, and its checkpoints.
//
//   16 bytes    "heed cache", zeros
//   u64         version: 1
//   u64         checksum of all that follows
//   u64 x 4     sequences, checkpoints, recent states, leaves
//   leaves      name, layout: each a u64 length and that many bytes, filled up with zeros to a multiple of 8; then for
//   every
//               sequence a u64, the rows of its memory
//   sequences   u64 length; the slots of recent states, newest first, and the checkpoints as (length + 1 or 0, slot): each
//               a u64 count and so many u64; slots are numbered by the states that follow
//   tensors     leaf by leaf, sequence by sequence, part by part, each filled up with zeros to a multiple of 8
//
// Everything is little-endian. Only filled positions and states in use are there. A blob is checked from the first byte to
// the last before anything is taken over; whatever does not hold is a CheckpointError.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache_order.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// FNV-1a over words of 8 bytes: a change of one of them always changes the sum.
inline std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 14695981039346656037u;
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    sum = (sum ^ word) * 1099511628211u;
  }
  return sum;
}

inline constexpr std::size_t blob_head = 32;  // magic, version, checksum
inline constexpr char blob_magic[16] = "heed cache";
inline constexpr std::uint64_t blob_version = 1;

class BlobWriter {
 public:
  void number(std::uint64_t value) { raw(&value, sizeof value); }
  void count(Index value) { number(static_cast<std::uint64_t>(value)); }
  void text(std::string_view text) {
    number(text.size());
    bytes(std::as_bytes(std::span<const char>(text.data(), text.size())));
  }
  void bytes(std::span<const std::byte> bytes) {
    raw(bytes.data(), bytes.size());
    blob_.resize((blob_.size() + 7) / 8 * 8);
  }
  void head() {
    raw(blob_magic, sizeof blob_magic);
    number(blob_version);
    number(0);
  }
  std::vector<std::byte> finish() && {
    const std::uint64_t sum = checksum(std::span(blob_).subspan(blob_head));
    std::memcpy(blob_.data() + blob_head - 8, &sum, 8);
    return std::move(blob_);
  }

 private:
  void raw(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    blob_.insert(blob_.end(), from, from + size);
  }
  std::vector<std::byte> blob_;
};

class BlobReader {
 public:
  explicit BlobReader(std::span<const std::byte> blob) : left_(blob) {}

  std::size_t left() const { return left_.size(); }
  std::span<const std::byte> bytes(std::uint64_t size, std::string_view what) {
    const std::uint64_t padded = size > left_.size() ? size : (size + 7) / 8 * 8;
    HEED_EXPECTS(CheckpointError, padded <= left_.size(), "cache: ", what, ": expected ", size, " more bytes, found ",
                 left_.size());
    const auto taken = left_.first(static_cast<std::size_t>(size));
    left_ = left_.subspan(static_cast<std::size_t>(padded));
    return taken;
  }
  std::uint64_t number(std::string_view what) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes(sizeof value, what).data(), sizeof value);
    return value;
  }
  /// A number of [0, most].
  Index count(Index most, std::string_view what) {
    const std::uint64_t value = number(what);
    HEED_EXPECTS(CheckpointError, value <= static_cast<std::uint64_t>(most), "cache: ", what, ": expected at most ", most,
                 ", found ", value);
    return static_cast<Index>(value);
  }
  void expects_number(Index expected, std::string_view what) {
    const std::uint64_t value = number(what);
    HEED_EXPECTS(CheckpointError, value == static_cast<std::uint64_t>(expected), "cache: ", what, ": expected ", expected,
                 ", found ", value);
  }
  void expects_text(std::string_view expected, std::string_view what) {
    const auto text = bytes(number(what), what);
    const std::string_view found(reinterpret_cast<const char*>(text.data()), text.size());
    HEED_EXPECTS(CheckpointError, found == expected, "cache: ", what, ": expected \"", expected, "\", found \"",
                 found.substr(0, 100), "\"");
  }
  void head() {
    const auto magic = bytes(sizeof blob_magic, "head");
    HEED_EXPECTS(CheckpointError, std::memcmp(magic.data(), blob_magic, sizeof blob_magic) == 0,
                 "cache: expected a block of bytes that begins with \"heed cache\", found another");
    expects_number(static_cast<Index>(blob_version), "version");
    const std::uint64_t sum = number("checksum");
    HEED_EXPECTS(CheckpointError, left_.size() % 8 == 0 && checksum(left_) == sum, "cache: checksum: expected ", sum,
                 ", found ", checksum(left_), ": the bytes are not those that were saved");
  }

 private:
  std::span<const std::byte> left_;
};

/// The same content with its states in slots 0, 1, ... instead of those of `slots`.
inline void renumber(TimelineContent::Sequence& content, std::span<const Index> slots) {
  const auto number = [&](Index slot) {
    return static_cast<Index>(std::lower_bound(slots.begin(), slots.end(), slot) - slots.begin());
  };
  for (Index& slot : content.recent) slot = number(slot);
  for (auto& checkpoint : content.checkpoints) checkpoint.slot = checkpoint.length > 0 ? number(checkpoint.slot) : 0;
}

inline void write_sequence(BlobWriter& blob, const TimelineContent::Sequence& content) {
  blob.count(content.length);
  blob.number(content.recent.size());
  for (const Index slot : content.recent) blob.count(slot);
  blob.number(content.checkpoints.size());
  for (const auto& checkpoint : content.checkpoints) {
    blob.count(checkpoint.length + 1);
    blob.count(checkpoint.slot);
  }
}

/// Numbers that no cache of these options can have are refused, so that what is read can be relied on.
inline TimelineContent::Sequence read_sequence(BlobReader& blob, const Timeline& timeline, Index b) {
  const std::string name = "sequence " + std::to_string(b) + ": ";
  const Index most_slots = (std::max)(timeline.slot_count() - 1, Index(0));
  TimelineContent::Sequence content;
  content.length = blob.count(timeline.capacity(b), name + "positions");
  const Index recent = blob.count(timeline.recent_states() + 1, name + "recent states");
  const Index least = timeline.stateful() && content.length > 0 ? 1 : 0;
  HEED_EXPECTS(CheckpointError, recent >= least && recent <= content.length * (timeline.stateful() ? 1 : 0),
               "cache: ", name, "recent states: expected ", least, " to ", content.length, ", found ", recent);
  for (Index i = 0; i < recent; ++i) content.recent.push_back(blob.count(most_slots, name + "slot"));
  const Index checkpoints = blob.count(timeline.checkpoints(), name + "checkpoints");
  for (Index i = 0; i < checkpoints; ++i) {
    const Index length = blob.count(content.length + 1, name + "positions of a checkpoint") - 1;
    content.checkpoints.push_back({length, blob.count(most_slots, name + "slot")});
  }
  return content;
}

}  // namespace detail

/// All that the leaves hold, and where their sequences stand.
inline std::vector<std::byte> save_cache(const Timeline& timeline, std::span<const NamedLeaf> leaves) {
  detail::BlobWriter blob;
  blob.head();
  blob.count(timeline.sequences());
  blob.count(timeline.checkpoints());
  blob.count(timeline.recent_states());
  blob.number(leaves.size());
  for (const NamedLeaf& leaf : leaves) {
    blob.text(leaf.name);
    blob.text(leaf.leaf->layout());
    for (Index b = 0; b < timeline.sequences(); ++b) blob.count(leaf.leaf->own_rows(b));
  }
  TimelineContent content = timeline.content();
  std::vector<std::vector<Index>> slots;
  for (TimelineContent::Sequence& sequence : content.sequences) {
    slots.push_back(timeline.stateful() ? slots_in_use(sequence) : std::vector<Index>());
    detail::renumber(sequence, slots.back());
    detail::write_sequence(blob, sequence);
  }
  for (const NamedLeaf& leaf : leaves)
    for (std::size_t b = 0; b < slots.size(); ++b) {
      const Filled filled{content.sequences[b].length, slots[b], leaf.leaf->own_rows(static_cast<Index>(b))};
      for (Index part = 0; part < leaf.leaf->parts(filled); ++part)
        blob.bytes(std::as_const(*leaf.leaf).part(static_cast<Index>(b), part, filled));
    }
  return std::move(blob).finish();
}

/// Takes over what `save_cache` has written for leaves of the same names and layouts, and a timeline of the same options;
/// the capacities may differ. All marks of before are forgotten; lengths at which the saved cache had checkpoints can be
/// cut to. CheckpointError, with nothing changed, for anything else.
inline void load_cache(std::span<const std::byte> bytes, Timeline& timeline, std::span<const NamedLeaf> leaves) {
  detail::BlobReader blob(bytes);
  blob.head();
  blob.expects_number(timeline.sequences(), "sequences");
  blob.expects_number(timeline.checkpoints(), "checkpoints");
  blob.expects_number(timeline.recent_states(), "recent states");
  blob.expects_number(static_cast<Index>(leaves.size()), "tensors");
  std::vector<Index> own_rows;  // [leaves x B]
  for (const NamedLeaf& leaf : leaves) {
    blob.expects_text(leaf.name, "name of a tensor");
    blob.expects_text(leaf.leaf->layout(), leaf.name);
    for (Index b = 0; b < timeline.sequences(); ++b)
      own_rows.push_back(blob.count(leaf.leaf->own_capacity(), leaf.name + ": rows"));
  }
  TimelineContent content;
  std::vector<std::vector<Index>> slots;
  for (Index b = 0; b < timeline.sequences(); ++b) {
    content.sequences.push_back(detail::read_sequence(blob, timeline, b));
    slots.push_back(timeline.stateful() ? slots_in_use(content.sequences.back()) : std::vector<Index>());
    HEED_EXPECTS(CheckpointError,
                 content.sequences.back().checkpoints.size() == content.sequences.front().checkpoints.size(),
                 "cache: sequence ", b, ": checkpoints: expected ", content.sequences.front().checkpoints.size(),
                 ", found ", content.sequences.back().checkpoints.size());
  }

  const auto each_part = [&](auto&& f) {
    for (std::size_t i = 0; i < leaves.size(); ++i)
      for (std::size_t b = 0; b < slots.size(); ++b) {
        const Filled filled{content.sequences[b].length, slots[b], own_rows[i * slots.size() + b]};
        for (Index part = 0; part < leaves[i].leaf->parts(filled); ++part)
          f(leaves[i], leaves[i].leaf->part(static_cast<Index>(b), part, filled));
      }
  };
  detail::BlobReader checked = blob;
  each_part([&](const NamedLeaf& leaf, std::span<std::byte> part) { checked.bytes(part.size(), leaf.name); });
  HEED_EXPECTS(CheckpointError, checked.left() == 0, "cache: expected its end, found ", checked.left(), " more bytes");

  each_part([&](const NamedLeaf& leaf, std::span<std::byte> part) {
    const auto saved = blob.bytes(part.size(), leaf.name);
    std::copy(saved.begin(), saved.end(), part.begin());
  });
  for (std::size_t i = 0; i < own_rows.size(); ++i)
    leaves[i / slots.size()].leaf->set_own_rows(static_cast<Index>(i % slots.size()), own_rows[i]);
  timeline.set_content(content);
}

}  // namespace heed::inline HEED_ABI
