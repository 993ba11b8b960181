/// The worker's side of a conversation in lines (docs/distributed.md).
#pragma once

#include <cstdio>
#include <istream>

namespace opweave::distribute {

/// Reads the question and then tasks, and answers them one after the other, until the input ends: then the process ends
/// at once, whatever it is doing, as nobody is left who would hear of it.
[[noreturn]] void serve(std::istream& input, std::FILE* output);

}  // namespace opweave::distribute
