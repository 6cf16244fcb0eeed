// What came out, for a terminal, a page and a program.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/columns.hpp"
#include "measurement.hpp"

namespace limits {

struct Result {
  Row row;
  std::optional<Measurement> one = {};  // on one thread, or on the threads of the row
  std::optional<Measurement> all = {};  // on all threads
  std::string why = {};                 // there is nothing

  bool reaches(double figure) const {
    return one && (row.less_is_better() ? one->median() <= figure : one->median() >= figure);
  }
  std::string verdict() const {
    if (!one) return why;
    return reaches(row.aim) ? "aim" : reaches(row.must) ? "must" : "below";
  }
};

struct Results {
  int threads = 1;
  std::vector<Result> all = {};
  std::vector<std::pair<std::string, std::vector<std::string>>> machine = {};  // a rate, on one thread, on all
};

inline std::string figure(double number) {
  return bench::fixed(number, number >= 100 ? 0 : number >= 10 ? 1 : 2);
}

/// One object for every row.
inline std::string json_text(const Results& results) {
  using nlohmann::ordered_json;
  const auto rounded = [](double number) { return std::stod(bench::printed("%.4g", number)); };
  const auto add = [&](ordered_json& to, const Measurement& from) {
    to["min"] = rounded(from.figures.front());
    to["max"] = rounded(from.figures.back());
    to["spread"] = rounded(from.spread());
    to["rounds"] = from.figures.size();
  };
  ordered_json list = ordered_json::array();
  for (const Result& result : results.all) {
    const Row& row = result.row;
    ordered_json one{
        {"workload", row.workload}, {"unit", row.unit}, {"measured", nullptr},          {"must", row.must},
        {"aim", row.aim},           {"limit", nullptr}, {"limit_unit", row.limit_unit}, {"limit_of", row.limit_of}};
    if (result.one) {
      one["measured"] = rounded(result.one->median());
      one["limit"] = rounded(result.one->limit());
      add(one, *result.one);
    } else {
      one["why"] = result.why;
    }
    if (result.all) {
      ordered_json all{{"threads", results.threads},
                       {"measured", rounded(result.all->median())},
                       {"limit", rounded(result.all->limit())}};
      add(all, *result.all);
      one["all_threads"] = all;
    }
    list.push_back(one);
  }
  return list.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// The cells of the table, titles first.
inline std::vector<std::vector<std::string>> cells_of(const Results& results) {
  std::vector<std::vector<std::string>> lines{{"workload", "unit", "measured", "min", "max", "spread", "must", "aim",
                                               "limit", std::to_string(results.threads) + " threads", "reaches"}};
  for (const Result& result : results.all) {
    const auto& [row, one, all, why] = result;
    const std::string none(bench::no_figure);
    std::vector<std::string> line{row.workload, row.unit};
    if (one)
      for (const std::string& cell : {figure(one->median()), figure(one->figures.front()), figure(one->figures.back()),
                                      bench::fixed(100 * one->spread(), 0) + " %"})
        line.push_back(cell);
    else
      line.insert(line.end(), 4, none);
    line.push_back(figure(row.must));
    line.push_back(figure(row.aim));
    line.push_back(one ? figure(one->limit()) : none);
    line.push_back(all ? figure(all->median()) : none);
    line.push_back(result.verdict());
    lines.push_back(line);
  }
  return lines;
}

inline std::vector<std::vector<std::string>> machine_cells_of(const Results& results) {
  std::vector<std::vector<std::string>> lines{{"limit", "1 thread", std::to_string(results.threads) + " threads"}};
  for (const auto& [name, figures] : results.machine) lines.push_back({name, figures[0], figures[1]});
  return lines;
}

inline std::string markdown(const std::vector<std::vector<std::string>>& lines) {
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += "|";
    for (const std::string& cell : lines[i]) text += " " + cell + " |";
    text += "\n";
    if (i > 0) continue;
    text += "|---|";
    for (std::size_t column = 1; column < lines[0].size(); ++column) text += "---:|";
    text += "\n";
  }
  return text;
}

}  // namespace limits
