#include <fmt/format.h>
#include <poll.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "distribute/child.h"
#include "distribute/workers.h"
#include "opweave/error.h"

namespace opweave::distribute {
namespace {

/// Runs the module that speaks for the workers of a Ray cluster, or says in one line what is missing.
constexpr const char* kProgram = R"(
import sys
try:
    from opweave.distributed.ray_workers import main
except ImportError as error:
    print(f'!{sys.executable} cannot import opweave ({error}): pip install "opweave[ray]"')
    sys.exit(2)
sys.exit(main(sys.argv[1:]))
)";
/// Ray starts in 6 to 12 s on a quiet machine.
constexpr int kMostMillisecondsToStart = 300'000;

/// OPWEAVE_PYTHON, the one of the place, the one beside this program (as a wheel installs both), or the one on the
/// path.
std::string python(const Place& place) {
  if (const char* program = std::getenv("OPWEAVE_PYTHON"); program != nullptr) return program;
  if (!place.python.empty()) return place.python;
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (error) return "python3";
  // A wheel may keep the program in PREFIX/lib/python3.X/site-packages/opweave.scripts.
  const std::filesystem::path prefix = folder.parent_path().parent_path().parent_path().parent_path();
  for (const auto& python : {folder / "python3", prefix / "bin/python3"}) {
    if (std::filesystem::exists(python, error)) return python.string();
  }
  return "python3";
}

std::vector<std::string> command(const Place& place, std::size_t count) {
  std::vector<std::string> words = {python(place), "-c", kProgram, place.address, std::to_string(count)};
  for (std::string& word : worker_command(place)) words.push_back(std::move(word));
  return words;
}

/// Lines of a worker have its number in front: "3 {...}" is what worker 3 says or hears, "3 !why" that it was lost.
class RayWorkers final : public Workers {
 public:
  RayWorkers(const Place& place, std::size_t count, const std::string& question) : speaker_(command(place, count)) {
    speaker_.send(question);
    wait_for_start(place);
  }

  [[nodiscard]] std::size_t count() const override { return count_; }

  void send(std::size_t worker, const std::string& line) override { speaker_.send(fmt::format("{} {}", worker, line)); }

  [[nodiscard]] std::vector<Event> wait(double seconds) override {
    std::vector<Event> events;
    if (!is_readable(static_cast<int>(seconds * 1e3))) return events;
    for (std::string& line : speaker_.lines()) events.push_back(parse(line));
    if (speaker_.has_ended()) throw InputError("Ray's side ended: " + speaker_.ending());
    return events;
  }

 private:
  [[nodiscard]] bool is_readable(int milliseconds) const {
    pollfd output{speaker_.output(), POLLIN, 0};
    return ::poll(&output, 1, milliseconds) > 0;
  }

  /// The first line is the number of workers, or "!" and why there are none.
  void wait_for_start(const Place& place) {
    std::vector<std::string> lines;
    while (lines.empty() && !speaker_.has_ended()) {
      if (!is_readable(kMostMillisecondsToStart))
        throw InputError(place.name + ": Ray does not start, or is interrupted");
      lines = speaker_.lines();
    }
    if (lines.empty()) throw InputError(fmt::format("{}: {} ended: {}", place.name, python(place), speaker_.ending()));
    if (lines.front().starts_with('!')) throw InputError(fmt::format("{}: {}", place.name, lines.front().substr(1)));
    const std::string& number = lines.front();
    std::from_chars(number.data(), number.data() + number.size(), count_);
  }

  [[nodiscard]] static Event parse(const std::string& line) {
    Event event;
    const char* const end = line.data() + line.size();
    const auto [rest, error] = std::from_chars(line.data(), end, event.worker);
    if (error != std::errc() || rest == end || *rest != ' ') throw InputError("Ray's side says \"" + line + "\"");
    event.text = line.substr(static_cast<std::size_t>(rest - line.data()) + 1);
    event.is_lost = event.text.starts_with('!');
    if (event.is_lost) event.text.erase(0, 1);
    return event;
  }

  Child speaker_;
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<Workers> start_on_ray(const Place& place, std::size_t count, const std::string& question) {
  return std::make_unique<RayWorkers>(place, count, question);
}

}  // namespace opweave::distribute
