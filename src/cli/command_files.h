/// The files that a command reads and writes.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace opweave::cli {

/// A file under the word that the command line has for it: "GRAPH", "--output". An empty path: not given.
struct NamedFile {
  std::string what;
  std::filesystem::path path;
};

/// Before any work: what will be written can be, and is neither read by the same command nor written twice. Names that
/// lead to one file are seen as such, through links too; pipes, terminals and /dev/null may be named as often as one
/// likes. \throws InputError naming both
void expect_files(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

/// Check of an option or argument that is the name of a file: it is not empty.
[[nodiscard]] CLI::Validator file_name();

}  // namespace opweave::cli
