// A sweep for people, for programs and as a page.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "opweave/sweep.h"
#include "report/format.h"
#include "report/names.h"
#include "report/page.h"

namespace opweave {
namespace {

/// "tp4 cp2 pp4x5 dp2 mbs1"
std::string label(const Strategy& s) {
  std::string text;
  const auto add = [&](std::string_view name, std::uint32_t degree, std::string_view more = "") {
    if (degree > 1) text += fmt::format("{}{}{} ", name, degree, more);
  };
  add("tp", s.tensor);
  add("cp", s.context);
  add("ep", s.expert);
  add("pp", s.pipeline, s.chunks > 1 ? fmt::format("x{}", s.chunks) : "");
  add("dp", s.data);
  if (s.component) {
    const ComponentMesh& mesh = *s.component;
    text += fmt::format("{}(tp{} cp{} pp{} dp{}) ", readable(mesh.name), mesh.tensor, mesh.context, mesh.pipeline,
                        mesh.data);
  }
  return text + fmt::format("mbs{}", s.micro_batch);
}

double cost(const SweepRow& row, double price) { return row.device_hours() * (price > 0 ? price : 1); }

/// A field of a CSV file (RFC 4180).
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string sweep_table(const SweepJournal& journal, double price) {
  std::vector<std::vector<std::string>> rows = {
      {"device", "nodes", "batch", "sequence", "step", "tokens/s/device", "MFU", "memory",
       price > 0 ? "price per million tokens" : "device-hours per million tokens", "profile", "strategy"}};
  for (const auto& [point, row] : journal.rows) {
    std::vector<std::string> cells = {readable(row.device), std::to_string(row.nodes), std::to_string(row.global_batch),
                                      std::to_string(row.sequence)};
    if (row.has_strategy()) {
      cells.insert(cells.end(),
                   {human(row.step), fmt::format("{:.0f}", row.tokens_per_second / static_cast<double>(row.devices)),
                    percent(row.mfu), human(row.memory), fmt::format("{:.4f}", cost(row, price)), readable(row.profile),
                    label(row.strategy) + (row.is_whole_space ? "" : " (time limit)")});
    } else {
      cells.insert(cells.end(), {"-", "-", "-", "-", "-", readable(row.profile), readable(row.failure)});
    }
    rows.push_back(std::move(cells));
  }
  return table(rows);
}

std::string sweep_csv(const SweepJournal& journal, double price) {
  std::string text = fmt::format(
      "point,device,nodes,devices,global_batch,sequence,step_ns,tokens_per_s,mfu,memory_bytes,{},whole_space,"
      "profile,strategy,failure\n",
      price > 0 ? "price_per_million_tokens" : "device_hours_per_million_tokens");
  for (const auto& [point, row] : journal.rows) {
    text += fmt::format("{},{},{},{},{},{},", row.point, field(row.device), row.nodes, row.devices, row.global_batch,
                        row.sequence);
    if (row.has_strategy()) {
      text += fmt::format("{},{},{},{},{},{},{},{},\n", row.step.value(), row.tokens_per_second, row.mfu,
                          row.memory.value(), cost(row, price), row.is_whole_space ? 1 : 0, field(row.profile),
                          label(row.strategy));
    } else {
      text += fmt::format(",,,,,,{},,{}\n", field(row.profile), field(row.failure));
    }
  }
  return text;
}

std::string sweep_html(const SweepJournal& journal, const std::string& title, double price) {
  auto rows = nlohmann::ordered_json::array();
  for (const auto& [point, row] : journal.rows) {
    nlohmann::ordered_json entry = {{"device", readable(row.device)}, {"nodes", row.nodes},
                                    {"devices", row.devices},         {"global_batch", row.global_batch},
                                    {"sequence", row.sequence},       {"profile", readable(row.profile)}};
    if (row.has_strategy()) {
      entry["step_ns"] = row.step.value();
      entry["tokens_per_s"] = row.tokens_per_second;
      entry["mfu"] = row.mfu;
      entry["memory_bytes"] = row.memory.value();
      entry["cost"] = cost(row, price);
      entry["strategy"] = label(row.strategy);
    } else {
      entry["failure"] = readable(row.failure);
    }
    rows.push_back(std::move(entry));
  }
  const nlohmann::ordered_json data = {
      {"title", readable(title)}, {"points", journal.points}, {"has_price", price > 0}, {"rows", rows}};
  return filled_page(kPageBeforeSweep, data.dump(), kPageAfterSweep);
}

}  // namespace opweave
