#include "distribute/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "opweave/error.h"

extern char** environ;

namespace opweave::distribute {
namespace {

struct Pipe {
  std::array<int, 2> ends = {-1, -1};

  Pipe() {
    // Closed in every program that is started meanwhile: only so the end of one end is seen at the other.
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw InputError(fmt::format("no pipe to a worker: {}", std::generic_category().message(errno)));
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  [[nodiscard]] int release(std::size_t end) { return std::exchange(ends.at(end), -1); }
};

}  // namespace

Child::Child(const std::vector<std::string>& command) {
  Pipe input;
  Pipe output;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.ends[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const int error = ::posix_spawnp(&process_, words.front(), &actions, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw InputError(fmt::format("{}: cannot be started: {}", command.front(), std::generic_category().message(error)));
  }
  input_ = input.release(1);
  output_ = output.release(0);
}

Child::~Child() {
  ::close(input_);
  ::close(output_);
  if (is_reaped_) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::send(std::string_view line) {
  std::string text(line);
  text += '\n';
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(input_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    done += static_cast<std::size_t>(count);
  }
}

std::vector<std::string> Child::lines() {
  std::vector<std::string> result;
  std::array<char, 65536> buffer;
  const ssize_t count = ::read(output_, buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return result;
  if (count <= 0) {
    has_ended_ = true;
    return result;
  }
  const std::string_view text(buffer.data(), static_cast<std::size_t>(count));
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    unfinished_ += text.substr(begin, end - begin);
    result.push_back(std::exchange(unfinished_, {}));
    begin = end + 1;
  }
  unfinished_ += text.substr(begin);
  return result;
}

std::string Child::ending() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  is_reaped_ = true;
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

}  // namespace opweave::distribute
