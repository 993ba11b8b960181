/// The two errors that are thrown. "No plan exists" is not one of them: it is a PlanResult.
#pragma once

#include <stdexcept>
#include <string>

namespace opweave {

/// The user's input is wrong. what() is one line: where, which values, what was expected.
/// The command line prints it and exits with 2.
class InputError : public std::runtime_error {
 public:
  explicit InputError(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}

  /// Advice for a second line, empty where we are not sure of any.
  [[nodiscard]] const std::string& hint() const { return hint_; }

 private:
  std::string hint_;
};

/// A broken invariant of opweave itself. The command line prints it and exits with 70.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace opweave
