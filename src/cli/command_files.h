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

/// Whether this output is a folder, to hold files of their usual names: "run/", a folder that is there, or a name
/// without an ending that nothing has yet.
[[nodiscard]] bool names_folder(const std::filesystem::path& path);

/// Makes the folder, and those above it, where they are missing. \throws InputError naming it
void make_folder(const std::filesystem::path& folder);

/// Check of an option or argument that is the name of a file: it is not empty.
[[nodiscard]] CLI::Validator file_name();

}  // namespace opweave::cli
