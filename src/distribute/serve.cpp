#include "distribute/serve.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>
#include <thread>

#include "distribute/question.h"
#include "opweave/error.h"

namespace opweave::distribute {
namespace {

/// Says lines from several threads.
class Mouth {
 public:
  explicit Mouth(std::FILE* output) : output_(output) {}

  void say(const Json& what) {
    const std::string line = what.dump() + "\n";
    const std::scoped_lock lock(mutex_);
    if (std::fwrite(line.data(), 1, line.size(), output_) != line.size() || std::fflush(output_) != 0) {
      std::_Exit(EXIT_FAILURE);  // nobody listens
    }
  }

 private:
  std::FILE* output_;
  std::mutex mutex_;
};

/// The question that a driver's first line holds; says why where it is none.
std::unique_ptr<Question> take_question(const std::string& line, Mouth& mouth) {
  try {
    const Json first = Json::parse(line);
    const auto version = first.at("version").get<std::string>();
    if (version != OPWEAVE_VERSION) {
      throw InputError("it is opweave " OPWEAVE_VERSION ", the driver is opweave " + version);
    }
    return read_question(first.at("question"));
  } catch (const std::exception& error) {
    mouth.say({{"refused", error.what()}});
    return nullptr;
  }
}

/// The last line of a task.
Json last_of(Question& question, std::size_t task, const Json& what, Mouth& mouth, const std::atomic<bool>& stop) {
  const auto found = [&](const Json& one) { mouth.say({{"task", task}, {"found", one}}); };
  const auto failure = [&](const std::string& text) { return Json{{"task", task}, {"failure", text}}; };
  try {
    return {{"task", task}, {"answer", question.answer(what, found, stop)}};
  } catch (const InputError& error) {
    return failure(error.what());
  } catch (const std::bad_alloc&) {
    return failure("out of memory");
  } catch (const std::exception& error) {
    return failure(std::string("internal error: ") + error.what());
  }
}

}  // namespace

void serve(std::istream& input, std::FILE* output) {
  Mouth mouth(output);
  std::string line;
  if (!std::getline(input, line)) std::_Exit(EXIT_SUCCESS);
  const std::unique_ptr<Question> question = take_question(line, mouth);
  if (!question) std::_Exit(EXIT_FAILURE);
  mouth.say({{"ready", question->hash()}});
  std::thread runner;
  std::atomic<bool> stop = false;
  while (std::getline(input, line)) {
    const Json heard = Json::parse(line, nullptr, false);
    if (!heard.is_object()) std::_Exit(EXIT_FAILURE);
    if (heard.contains("stop")) stop = true;
    if (heard.contains("news")) question->hear(heard["news"]);
    if (!heard.contains("task")) continue;
    if (runner.joinable()) runner.join();  // it has said its last line, or the driver would not send another task
    stop = false;
    runner = std::thread([&, task = heard["task"].get<std::size_t>(), what = heard["what"]] {
      mouth.say(last_of(*question, task, what, mouth, stop));
    });
  }
  std::_Exit(EXIT_SUCCESS);
}

}  // namespace opweave::distribute
