#include "cli/command_text.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

namespace opweave::cli {
namespace {

/// One word for the shell; in quotation marks only where it needs them. What begins with "-" is the name of a file, no
/// other value can: the folder in front keeps it from being an option.
std::string word(const std::string& value) {
  std::string text = value.starts_with('-') ? "./" + value : value;
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_./=,:+@%").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, is_plain)) return text;
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

/// No value of an option but a file has a slash.
std::string without_folder(const std::string& value) {
  const std::string name = std::filesystem::path(value).filename().string();
  return name.empty() ? value : name;
}

std::string as_utf8(const std::string& text) {
  using Json = nlohmann::json;
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

/// "opweave convert csv": the command with those above it.
std::string path_of(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name() : path_of(*parent) + " " + command.get_name();
}

}  // namespace

std::string command_text(const CLI::App& command, const std::vector<std::string>& unsaid) {
  std::string text = path_of(command);
  std::set<const CLI::Option*> said;  // an option of several values is parsed once for each
  for (const CLI::Option* option : command.parse_order()) {
    if (std::ranges::any_of(unsaid, [&](const std::string& name) { return option->check_name(name); })) continue;
    if (!said.insert(option).second) continue;
    if (!option->get_positional()) text += " " + option->get_name();
    if (option->get_items_expected_max() == 0) continue;  // a flag
    for (const std::string& value : option->results()) text += " " + word(without_folder(value));
  }
  return as_utf8(text);
}

}  // namespace opweave::cli
