// All results for programs: build/report/results.json.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "results.hpp"

namespace report {

inline nlohmann::ordered_json json_of(const Result& result) {
  using nlohmann::ordered_json;
  ordered_json json{{"variant", result.variant->key}, {"parameters", result.parameters}};
  json["finished"] = result.curve.finished;
  json["steps"] = result.curve.steps();
  json["training_seconds"] = result.curve.seconds;
  json["training_loss"] = result.curve.losses;
  for (const HeldOut& point : result.curve.held_out)
    json["held_out_loss"].push_back({{"step", point.step}, {"nats_per_byte", point.loss}});
  if (result.agreement)
    json["agreement"] = {{"chunked_whole", result.agreement->chunked_whole},
                         {"whole_double", result.agreement->whole_double},
                         {"chunked_double", result.agreement->chunked_double},
                         {"holds", result.agreement->holds()}};
  if (result.prefill) json["prefill_tokens_per_second"] = *result.prefill;
  for (const DecodeTime& time : result.decode)
    json["decode"].push_back({{"position", time.position}, {"seconds_per_token", time.seconds}});
  json["cache"] = {{"constant_bytes", result.cache.constant},
                   {"bytes_per_position", result.cache.per_position},
                   {"allocated", result.cache.allocated}};
  if (!result.generated.empty()) json["generated"] = readable(result.generated);
  return json;
}

inline std::string json_text(const Report& report) {
  const Plan& plan = report.plan;
  nlohmann::ordered_json json{
      {"commit", report.commit},
      {"date", report.date},
      {"machine", report.machine},
      {"compiler", report.compiler},
      {"threads", plan.threads},
      {"command", report.command},
      {"text",
       {{"name", report.text_name},
        {"bytes", report.text_bytes},
        {"files", report.text_files},
        {"fnv1a_64", report.text_hash}}},
      {"sizes", {{"width", plan.width}, {"layers", plan.layers}, {"heads", plan.heads}, {"kv_heads", plan.kv_heads}}},
      {"training", {{"steps", plan.steps}, {"batch", plan.batch}, {"length", plan.length}, {"seed", plan.seed}}},
      {"held_out_bytes", report.held_out_bytes},
      {"prompt", readable(report.prompt)},
      {"interrupted", report.interrupted},
      {"seconds", report.seconds},
      {"results", nlohmann::ordered_json::array()}};
  for (const Result& result : report.results) json["results"].push_back(json_of(result));
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace report
