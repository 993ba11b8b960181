#include "distribute/crew.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "io/message.h"
#include "opweave/error.h"

namespace opweave::distribute {
namespace {

/// A task that ends its worker so often is what ends it.
constexpr unsigned kMostLosses = 5;
/// So many workers in a row that end before they are ready: none will be.
constexpr unsigned kMostFalseStarts = 5;

}  // namespace

Crew::Crew(const Place& place, std::size_t count, const Json& question, std::string hash)
    : hash_(std::move(hash)),
      workers_(start_workers(place, count, Json{{"version", OPWEAVE_VERSION}, {"question", question}}.dump())),
      members_(workers_->count()) {}

void Crew::submit(std::size_t task, Json what) {
  open_[task] = {std::move(what), 0};
  waiting_.push_back(task);
  hand_out();
}

void Crew::hand_out() {
  for (std::size_t i = 0; i < members_.size() && !waiting_.empty() && !is_stopped_; ++i) {
    Member& member = members_[i];
    if (!member.is_ready || member.task) continue;
    member.task = waiting_.front();
    waiting_.pop_front();
    workers_->send(i, Json{{"task", *member.task}, {"what", open_.at(*member.task).what}}.dump());
  }
}

std::vector<Crew::Event> Crew::next(double seconds) {
  std::vector<Event> events;
  for (const Workers::Event& event : workers_->wait(seconds)) {
    if (event.is_lost) {
      lose(event.worker, event.text, events);
    } else {
      hear(event.worker, event.text, events);
    }
  }
  while (is_stopped_ && !waiting_.empty()) fail(waiting_.front(), "stopped before it began", events);
  hand_out();
  return events;
}

void Crew::hear(std::size_t worker, const std::string& line, std::vector<Event>& events) {
  const Json said = Json::parse(line, nullptr, false);
  if (!said.is_object()) throw InputError("a worker says " + io::text_in_quotes(line) + ", expected a line of JSON");
  Member& member = members_.at(worker);
  if (const auto refusal = said.find("refused"); refusal != said.end()) {
    throw InputError("a worker refuses: " + refusal->get<std::string>());
  }
  if (const auto hash = said.find("ready"); hash != said.end()) {
    if (*hash != hash_) throw InputError("a worker understood another question: it runs another version of opweave");
    lost_before_ready_ = 0;
    member.is_ready = true;
    if (!told_.empty()) workers_->send(worker, Json{{"news", told_}}.dump());
    return;
  }
  // Nothing else is said but of the task that the worker has.
  if (!member.task || said.value("task", Json()) != *member.task) return;
  if (const auto found = said.find("found"); found != said.end()) {
    events.push_back({*member.task, Kind::kFound, *found});
    return;
  }
  const std::size_t task = *std::exchange(member.task, std::nullopt);
  open_.erase(task);
  const auto failure = said.find("failure");
  events.push_back(failure != said.end() ? Event{task, Kind::kFailure, *failure}
                                         : Event{task, Kind::kAnswer, said.value("answer", Json())});
}

void Crew::lose(std::size_t worker, const std::string& reason, std::vector<Event>& events) {
  const Member lost = std::exchange(members_.at(worker), {});
  if (!lost.is_ready && ++lost_before_ready_ >= kMostFalseStarts) {
    throw InputError(
        fmt::format("no worker starts: the last {} ended before they were ready ({})", kMostFalseStarts, reason));
  }
  if (!lost.task) return;
  Open& task = open_.at(*lost.task);
  if (++task.losses >= kMostLosses || is_stopped_) {
    waiting_.push_front(*lost.task);
    return fail(*lost.task, fmt::format("its worker was lost {} times: {}", task.losses, reason), events);
  }
  waiting_.push_front(*lost.task);
}

void Crew::fail(std::size_t task, const std::string& reason, std::vector<Event>& events) {
  std::erase(waiting_, task);
  open_.erase(task);
  events.push_back({task, Kind::kFailure, reason});
}

void Crew::broadcast(const Json& news) {
  told_.update(news);
  const std::string line = Json{{"news", news}}.dump();
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].is_ready) workers_->send(i, line);
  }
}

void Crew::stop() {
  if (std::exchange(is_stopped_, true)) return;
  const std::string line = Json{{"stop", true}}.dump();
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].task) workers_->send(i, line);
  }
}

}  // namespace opweave::distribute
