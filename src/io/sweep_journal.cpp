// A sweep as JSON lines: the question, then a line per finished point.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/formats.h"
#include "io/message.h"
#include "io/strategy_json.h"
#include "opweave/io.h"
#include "opweave/sweep.h"

namespace opweave {
namespace {

using Json = nlohmann::ordered_json;

SweepRow read_row(const io::JsonValue& value) {
  SweepRow row;
  std::int64_t point = 0;
  std::int64_t nodes = 0;
  std::int64_t devices = 0;
  const auto into = [](auto& target, std::int64_t least) {
    return [&target, least](const io::JsonValue& part) { target = part.integer(least, 1'000'000'000); };
  };
  io::read_object(
      value, io::required("point", into(point, 0)), io::required("device", io::text_into(row.device)),
      io::required("nodes", into(nodes, 1)), io::required("devices", into(devices, 1)),
      io::required("global_batch", into(row.global_batch, 1)), io::required("sequence", into(row.sequence, 1)),
      io::optional("profile", io::text_into(row.profile)), io::optional("failure", io::text_into(row.failure)),
      io::optional("is_whole_space", [&](const io::JsonValue& part) { row.is_whole_space = part.boolean(); }),
      io::optional("step_ns", io::amount_into(row.step)),
      io::optional("tokens_per_s", io::number_into(row.tokens_per_second)),
      io::optional("mfu", io::number_into(row.mfu)), io::optional("memory_bytes", io::amount_into(row.memory)),
      io::optional("strategy", [&](const io::JsonValue& part) { row.strategy = io::read_strategy(part); }));
  row.point = static_cast<std::size_t>(point);
  row.nodes = static_cast<std::uint32_t>(nodes);
  row.devices = static_cast<std::uint64_t>(devices);
  return row;
}

}  // namespace

std::string sweep_head(const std::string& question, std::size_t points) {
  return Json{{"format", io::kSweepFormat}, {"version", io::kFormatVersion}, {"question", question}, {"points", points}}
      .dump();
}

std::string sweep_line(const SweepRow& row) {
  Json line = {{"point", row.point},
               {"device", row.device},
               {"nodes", row.nodes},
               {"devices", row.devices},
               {"global_batch", row.global_batch},
               {"sequence", row.sequence}};
  if (!row.profile.empty()) line["profile"] = row.profile;
  if (!row.has_strategy()) {
    line["failure"] = row.failure;
    return line.dump();
  }
  line["is_whole_space"] = row.is_whole_space;
  line["step_ns"] = row.step.value();
  line["tokens_per_s"] = row.tokens_per_second;
  line["mfu"] = row.mfu;
  line["memory_bytes"] = row.memory.value();
  line["strategy"] = Json::parse(strategy_to_json(row.strategy));
  return line.dump();
}

SweepRow parse_sweep_line(std::string_view line, const std::string& source) {
  const io::JsonDocument document(line, source);
  return read_row(document.root());
}

SweepJournal parse_sweep(std::string_view text, const std::string& source) {
  SweepJournal journal;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    const std::string place = fmt::format("{}: line {}", source, ++number);
    const io::JsonDocument document(line, place);
    if (number == 1) {
      const io::JsonValue root = document.root(io::kSweepFormat, io::kFormatVersion);
      const auto skip = [](const io::JsonValue&) {};
      io::read_object(root, io::optional("format", skip), io::optional("version", skip),
                      io::required("question", io::text_into(journal.question)),
                      io::required("points", [&](const io::JsonValue& part) {
                        journal.points = static_cast<std::size_t>(part.integer(1, 1'000'000'000));
                      }));
      continue;
    }
    SweepRow row = read_row(document.root());
    if (row.point >= journal.points) {
      throw io::error_in(place, fmt::format("point is {}, expected less than {}", row.point, journal.points));
    }
    journal.rows.insert_or_assign(row.point, std::move(row));
  }
  return journal;
}

std::string sweep_to_text(const SweepJournal& journal) {
  std::string text = sweep_head(journal.question, journal.points) + "\n";
  for (const auto& [point, row] : journal.rows) text += sweep_line(row) + "\n";
  return text;
}

SweepJournal merge_sweeps(const std::vector<std::filesystem::path>& journals) {
  SweepJournal all;
  for (const auto& path : journals) {
    SweepJournal one = parse_sweep(read_file(path), path.string());
    if (one.question.empty()) throw InputError(path.string() + ": no line, expected the head of a journal");
    if (all.question.empty()) {
      all = std::move(one);
      continue;
    }
    if (one.question != all.question) {
      throw InputError(
          fmt::format("{}: belongs to another question than {}", path.string(), journals.front().string()));
    }
    all.rows.merge(one.rows);
  }
  return all;
}

}  // namespace opweave
