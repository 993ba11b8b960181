#include "planner/side_by_side.h"

#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace opweave {

void side_by_side(std::size_t count, const std::function<void(std::size_t)>& job) {
  std::vector<std::exception_ptr> failures(count);
  const auto call = [&](std::size_t i) {
    try {
      job(i);
    } catch (...) {
      failures[i] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(count);
  try {
    while (threads.size() + 1 < count) threads.emplace_back(call, threads.size() + 1);
  } catch (const std::system_error&) {
    // The system has no more.
  }
  if (count > 0) call(0);
  for (std::size_t i = threads.size() + 1; i < count; ++i) call(i);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace opweave
