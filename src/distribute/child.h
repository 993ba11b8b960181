/// A program that is spoken to in lines.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace opweave::distribute {

/// A child process with pipes to its standard input and from its standard output; its standard error is ours. It is in
/// a process group of its own, so that Ctrl-C reaches the parent alone, and nobody else holds its pipes: where the
/// parent ends, however it ends, the child reads the end of its input.
/// \pre SIGPIPE is ignored
class Child {
 public:
  /// \throws InputError if the program cannot be started
  explicit Child(const std::vector<std::string>& command);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  /// Ends the process at once.
  ~Child();

  /// Writes a line; one that nobody reads any more is dropped, as lines() then ends.
  void send(std::string_view line);
  /// To be asked by poll().
  [[nodiscard]] int output() const { return output_; }
  /// Reads once and returns the lines that are complete now. Blocks unless poll() said that there is something.
  [[nodiscard]] std::vector<std::string> lines();
  /// The child has closed its output: it has ended, or is about to.
  [[nodiscard]] bool has_ended() const { return has_ended_; }
  /// How it ended: "killed by signal 9", "exit code 1". \pre has_ended()
  [[nodiscard]] std::string ending();
  [[nodiscard]] pid_t process() const { return process_; }

 private:
  pid_t process_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string unfinished_;  ///< begin of a line
  bool has_ended_ = false;
  bool is_reaped_ = false;
};

}  // namespace opweave::distribute
