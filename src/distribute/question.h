/// A question as its workers see it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace opweave::distribute {

using Json = nlohmann::ordered_json;

class Question {
 public:
  Question() = default;
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;
  virtual ~Question() = default;

  /// Equal on both sides where both mean the same.
  [[nodiscard]] virtual std::string hash() const = 0;
  /// The answer of a task. `found` hears of what it finds on the way, in any thread; once `stop` is true the answer is
  /// what is known. \throws InputError: the task fails with its text
  [[nodiscard]] virtual Json answer(const Json& task, const std::function<void(const Json&)>& found,
                                    const std::atomic<bool>& stop) = 0;
  /// What others have found. Called while a task runs, from another thread.
  virtual void hear(const Json& /*news*/) {}
};

/// Of the line that a driver sends first: by its member "kind". \throws InputError
[[nodiscard]] std::unique_ptr<Question> read_question(const Json& question);

/// One of each kind; \throws InputError or a JSON exception for what no driver sends
[[nodiscard]] std::unique_ptr<Question> read_sweep_question(const Json& question);
[[nodiscard]] std::unique_ptr<Question> read_strategy_question(const Json& question);
[[nodiscard]] std::unique_ptr<Question> read_plan_question(const Json& question);

}  // namespace opweave::distribute
