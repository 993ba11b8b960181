#include "cli/command_files.h"

#include <fmt/format.h>

#include "io/file_identity.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {

void expect_files(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  const auto expect_other = [](const NamedFile& written, const NamedFile& other) {
    if (written.path.empty() || other.path.empty() || !io::same_file(written.path, other.path)) return;
    throw InputError(fmt::format("{}: file is {}, the same as {}, expected a file of its own", written.what,
                                 io::text_in_quotes(written.path.string(), 400), other.what));
  };
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const NamedFile& input : inputs) expect_other(outputs[i], input);
    for (std::size_t k = 0; k < i; ++k) expect_other(outputs[i], outputs[k]);
  }
  // `opweave show plan.json >> plan.json`: what is printed would spoil what is read.
  for (const NamedFile& input : inputs) expect_other({"standard output", "/dev/stdout"}, input);
  for (const NamedFile& output : outputs) {
    if (!output.path.empty()) expect_writable(output.path);
  }
}

bool names_folder(const std::filesystem::path& path) {
  std::error_code unknown;
  if (path.empty()) return false;
  if (std::filesystem::exists(path, unknown)) return std::filesystem::is_directory(path, unknown);
  return !path.has_filename() || !path.has_extension();
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw InputError(fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
}

CLI::Validator file_name() {
  return {
      [](std::string& text) { return text.empty() ? std::string("value is \"\", expected the name of a file") : ""; },
      ""};
}

}  // namespace opweave::cli
