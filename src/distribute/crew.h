/// Tasks over workers: submit, next result, broadcast, stop.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "distribute/place.h"
#include "distribute/workers.h"

namespace opweave::distribute {

using Json = nlohmann::ordered_json;

/// How long a driver listens before it looks at the flag of an interrupt, and at its time.
inline constexpr double kSecondsToListen = 0.1;

/// Gives every idle worker the next task. The task of a worker that was lost goes to another one, first of all; what it
/// had found so far stays told. A task whose workers are lost again and again fails with the last reason.
class Crew {
 public:
  /// `question` with its hash, which every worker says back: a worker that understood something else is refused.
  /// `count` as in start_workers. \throws InputError
  Crew(const Place& place, std::size_t count, const Json& question, std::string hash);

  [[nodiscard]] std::size_t workers() const { return workers_->count(); }
  void submit(std::size_t task, Json what);
  /// Tasks without an answer.
  [[nodiscard]] std::size_t open() const { return open_.size(); }

  enum class Kind : unsigned char {
    kFound,   ///< by a task that goes on
    kAnswer,  ///< the last of a task
    kFailure  ///< the last of a task: a text
  };
  struct Event {
    std::size_t task = 0;
    Kind kind = Kind::kAnswer;
    Json content;
  };
  /// What comes within so many seconds; early with what there is, and at a signal. \throws InputError if no worker
  /// starts, or one refuses the question
  [[nodiscard]] std::vector<Event> next(double seconds);
  /// Tells all workers, those that come later too: members replace those of the same name that were told before.
  void broadcast(const Json& news);
  /// Tasks that run answer soon with what they have, the others fail.
  void stop();

 private:
  struct Member {
    bool is_ready = false;
    std::optional<std::size_t> task;
  };
  struct Open {
    Json what;
    unsigned losses = 0;
  };
  void hear(std::size_t worker, const std::string& line, std::vector<Event>& events);
  void lose(std::size_t worker, const std::string& reason, std::vector<Event>& events);
  void hand_out();
  void fail(std::size_t task, const std::string& reason, std::vector<Event>& events);

  const std::string hash_;
  std::unique_ptr<Workers> workers_;
  std::vector<Member> members_;
  std::map<std::size_t, Open> open_;
  std::deque<std::size_t> waiting_;
  Json told_ = Json::object();
  unsigned lost_before_ready_ = 0;  ///< one after the other
  bool is_stopped_ = false;
};

}  // namespace opweave::distribute
