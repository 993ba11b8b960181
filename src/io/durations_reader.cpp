#include <map>

#include "io/json_reader.h"
#include "io/message.h"
#include "opweave/io.h"

namespace opweave {

std::vector<Duration> parse_durations(std::string_view json, const std::string& source, const Problem& problem,
                                      const Schedule& schedule) {
  const io::JsonDocument document(json, source);
  struct Measured {
    Duration duration;
    bool is_used = false;
  };
  std::map<std::string_view, Measured> by_name;
  const io::JsonValue root = document.root();
  root.each_member([&](std::string_view name, const io::JsonValue& value) {
    by_name.emplace(name, Measured{Duration(value.integer())});
  });
  const auto find = [&](std::string_view name) -> const Measured* {
    const auto entry = by_name.find(name);
    if (entry == by_name.end()) return nullptr;
    entry->second.is_used = true;
    return &entry->second;
  };

  std::vector<Duration> durations;
  durations.reserve(problem.task_count());
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const TaskId task(t);
    const Measured* of_operator = find(problem.op(task).name);
    const Measured* of_task = find(problem.task_name(task));
    const Measured* measured = of_task != nullptr ? of_task : of_operator;
    durations.push_back(measured != nullptr ? measured->duration
                                            : schedule.end(problem, task) - schedule.tasks[t].start);
  }
  for (const auto& [name, measured] : by_name) {
    if (!measured.is_used)
      throw io::error_in(source, io::text_in_quotes(name) + " is no operator or task of the graph");
  }
  return durations;
}

}  // namespace opweave
