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
  ProcessWorkers(std::size_t count, std::string question) : question_(std::move(question)), children_(count) {
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
    children_[worker] = std::make_unique<Child>(worker_command());
    children_[worker]->send(question_);
  }

  const std::string question_;
  std::vector<std::unique_ptr<Child>> children_;
};

}  // namespace

std::vector<std::string> worker_command() {
  if (const char* program = std::getenv("OPWEAVE_WORKER"); program != nullptr) return {program};
  std::error_code error;
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", error);
  // As an extension module this is part of an interpreter.
  const bool is_program = !error && !own.filename().string().starts_with("python");
  return {is_program ? own.string() : "opweave", "worker"};
}

std::unique_ptr<Workers> start_processes(std::size_t count, const std::string& question) {
  return std::make_unique<ProcessWorkers>(count > 0 ? count : std::max(1U, std::thread::hardware_concurrency()),
                                          question);
}

std::unique_ptr<Workers> start_workers(const Place& place, std::size_t count, const std::string& question) {
  return place.kind == Place::Kind::kRay ? start_on_ray(place.address, count, question)
                                         : start_processes(count, question);
}

}  // namespace opweave::distribute
