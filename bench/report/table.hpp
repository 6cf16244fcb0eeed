// The figures of all variants: one table, printed on a terminal, in Markdown and on the page.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "results.hpp"
#include "shared.hpp"

namespace report {

struct Column {
  std::string subject;  // columns of one subject stand side by side
  std::string detail;
  std::string unit;
  std::function<std::string(const Result&)> cell;

  std::string title() const { return subject + (detail.empty() ? "" : " " + detail); }
};

inline std::vector<Column> columns() {
  const auto if_any = [](const auto& figure, auto&& print) { return figure ? print(*figure) : std::string(no_figure); };
  std::vector<Column> all{
      {"Parameters", "", "", [](const Result& r) { return grouped(r.parameters); }},
      {"Held-out", "loss", "nats/byte",
       [=](const Result& r) { return if_any(r.held_out_loss(), [](double loss) { return fixed(loss, 3); }); }},
      {"Chunked", "− whole", "max, logits",
       [=](const Result& r) {
         return if_any(r.agreement,
                       [](const Agreement& a) { return scientific(a.chunked_whole) + (a.holds() ? "" : " (too much)"); });
       }},
      {"Prefill", "", "tokens/s", [=](const Result& r) { return if_any(r.prefill, speed); }},
  };
  for (const Index position : Plan::stated_lengths)
    all.push_back({"Decode", "at " + grouped(position), "tokens/s",
                   [=](const Result& r) { return if_any(r.decode_speed(position), speed); }});
  all.push_back({"Cache", "constant", "bytes", [](const Result& r) { return grouped(r.cache.constant); }});
  all.push_back({"Cache", "per position", "bytes", [](const Result& r) { return grouped(r.cache.per_position); }});
  for (const Index length : Plan::cache_lengths)
    all.push_back({"Cache", "at " + std::to_string(length / 1024) + "k", "MiB",
                   [=](const Result& r) { return mebibytes(r.cache.at(length)); }});
  return all;
}

/// Aligned columns under three lines of headings.
inline std::string terminal_table(const std::vector<Result>& results) {
  std::vector<std::vector<std::string>> lines{{"variant"}, {""}, {""}};
  for (const Column& column : columns()) {
    lines[0].push_back(column.subject);
    lines[1].push_back(column.detail);
    lines[2].push_back(column.unit);
  }
  for (const Result& result : results) {
    lines.push_back({std::string(result.variant->key)});
    for (const Column& column : columns()) lines.back().push_back(column.cell(result));
  }
  return aligned(lines);
}

/// For README and docs: the table, and below it what it was measured on.
inline std::string markdown_table(const Report& report) {
  std::string text = "| variant |", rule = "|---|";
  for (const Column& column : columns()) {
    text += " " + column.title() + (column.unit.empty() ? "" : ", " + column.unit) + " |";
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const Result& result : report.results) {
    text += "| " + std::string(result.variant->name) + " |";
    for (const Column& column : columns()) {
      std::string cell = column.cell(result);
      text += " " + cell + " |";
    }
    text += "\n";
  }
  text += "\nCommit " + report.commit + ", text: " + report.text_name + " (" + grouped(report.text_bytes) +
          " bytes, FNV-1a 64 " + report.text_hash + "), " + grouped(report.plan.steps) + " steps of " +
          std::to_string(report.plan.batch) + " x " + std::to_string(report.plan.length) + " bytes, seed " +
          std::to_string(report.plan.seed) + ", " + report.machine + ", " + std::to_string(report.plan.threads) +
          " threads, " + report.compiler + ". One short run is not a ranking.\n";
  return text;
}

}  // namespace report
