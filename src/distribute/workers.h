/// Programs that answer tasks, wherever they run (docs/distributed.md).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "distribute/place.h"

namespace opweave::distribute {

/// Speaks lines with workers that are numbered from 0. Each worker hears the question before anything else. One that is
/// lost is replaced under the same number.
class Workers {
 public:
  Workers() = default;
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  /// Ends all workers at once.
  virtual ~Workers() = default;

  struct Event {
    std::size_t worker = 0;
    bool is_lost = false;
    std::string text;  ///< a line of the worker, or why it was lost
  };
  [[nodiscard]] virtual std::size_t count() const = 0;
  virtual void send(std::size_t worker, const std::string& line) = 0;
  /// What comes within so many seconds; comes back early with what there is, and at a signal.
  [[nodiscard]] virtual std::vector<Event> wait(double seconds) = 0;
};

/// `count` workers that answer `question`; 0 = as many as the place has cores. \throws InputError if they cannot be
/// started, in one line
[[nodiscard]] std::unique_ptr<Workers> start_workers(const Place& place, std::size_t count,
                                                     const std::string& question);

/// How a worker of this machine is started: OPWEAVE_WORKER where it is set, `opweave worker` otherwise.
[[nodiscard]] std::vector<std::string> worker_command(const Place& place);

/// Where workers are children of this process.
[[nodiscard]] std::unique_ptr<Workers> start_processes(const Place& place, std::size_t count,
                                                       const std::string& question);
/// Where Ray runs them: one child, which is Python, speaks for all of them.
[[nodiscard]] std::unique_ptr<Workers> start_on_ray(const Place& place, std::size_t count, const std::string& question);

}  // namespace opweave::distribute
