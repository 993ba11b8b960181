#include "core/left_behind.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace opweave {
namespace {

std::atomic<int> left_behind = 0;

void end_without_teardown(int status, void*) {
  if (left_behind.load() == 0) return;
  std::fflush(nullptr);
  _exit(status);
}

}  // namespace

void leave_behind() {
  left_behind.fetch_add(1);
  static const int registered = on_exit(end_without_teardown, nullptr);
  static_cast<void>(registered);
}

void came_home() { left_behind.fetch_sub(1); }

}  // namespace opweave
