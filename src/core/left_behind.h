/// Threads that nobody waits for any more.
#pragma once

namespace opweave {

/// Counts a thread that works on although its answer is not wanted any more. A process that ends meanwhile ends without
/// taking down its globals, which the thread may be using; by then all results are written.
void leave_behind();
/// A thread that was left behind has ended.
void came_home();

}  // namespace opweave
