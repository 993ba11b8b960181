/// Threads that end together.
#pragma once

#include <cstddef>
#include <functional>

namespace opweave {

/// Calls job(0), ..., job(count - 1) side by side, the first in the caller's thread and each other in one of its own.
/// Where the system has no more threads to give, the rest are called one after the other when job(0) has ended. Comes
/// back when all have ended, and then throws on the first exception of any.
void side_by_side(std::size_t count, const std::function<void(std::size_t)>& job);

}  // namespace opweave
