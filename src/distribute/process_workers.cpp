#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "distribute/child.h"
#include "distribute/workers.h"

namespace opweave::distribute {
namespace {

class ProcessWorkers final : public Workers {
 public:
  ProcessWorkers(const Place& place, std::size_t count, std::string question)
      : command_(worker_command(place)), question_(std::move(question)), children_(count) {
    for (std::size_t i = 0; i < count; ++i) start(i);
  }

  [[nodiscard]] std::size_t count() const override { return children_.size(); }

  void send(std::size_t worker, const std::string& line) override { children_[worker]->send(line); }

  [[nodiscard]] std::vector<Event> wait(double seconds) override {
    std::vector<pollfd> outputs;
    for (const auto& child : children_) outputs.push_back({child->output(), POLLIN, 0});
    std::vector<Event> events;
    if (::poll(outputs.data(), outputs.size(), static_cast<int>(seconds * 1e3)) <= 0) return events;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].revents == 0) continue;
      for (std::string& line : children_[i]->lines()) events.push_back({i, false, std::move(line)});
      if (!children_[i]->has_ended()) continue;
      events.push_back({i, true, children_[i]->ending()});
      start(i);
    }
    return events;
  }

 private:
  void start(std::size_t worker) {
    children_[worker] = std::make_unique<Child>(command_);
    children_[worker]->send(question_);
  }

  const std::vector<std::string> command_;
  const std::string question_;
  std::vector<std::unique_ptr<Child>> children_;
};

}  // namespace

std::vector<std::string> worker_command(const Place& place) {
  if (const char* program = std::getenv("OPWEAVE_WORKER"); program != nullptr) return {program};
  if (!place.program.empty()) return {place.program, "worker"};
  std::error_code error;
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", error);
  return {error ? "opweave" : own.string(), "worker"};
}

std::unique_ptr<Workers> start_processes(const Place& place, std::size_t count, const std::string& question) {
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  return std::make_unique<ProcessWorkers>(place, count > 0 ? count : cores, question);
}

std::unique_ptr<Workers> start_workers(const Place& place, std::size_t count, const std::string& question) {
  return place.kind == Place::Kind::kRay ? start_on_ray(place, count, question)
                                         : start_processes(place, count, question);
}

}  // namespace opweave::distribute
