#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/output.h"

namespace opweave::cli {
namespace {

/// Text as roff: no letter of it is an instruction.
std::string roff(std::string_view text) {
  std::string result;
  bool at_line_start = true;
  for (const char c : text) {
    if (at_line_start && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
    at_line_start = c == '\n';
  }
  return result;
}

std::string options(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->nonpositional() ? option->get_name(false, true) : option->get_name(true);
    std::string spelled = name;
    if (const auto comma = spelled.find(','); comma != spelled.npos) spelled.replace(comma, 1, ", ");
    text += fmt::format(".TP\n\\fB{}\\fR", roff(spelled));
    if (option->nonpositional() && option->get_items_expected_max() > 0) text += " \\fIvalue\\fR";
    text += fmt::format("\n{}\n", roff(option->get_description()));
  }
  return text;
}

void describe(const CLI::App& command, const std::string& words, std::string& text) {
  text += fmt::format(".SS \"{}\"\n{}.\n{}", roff(words), roff(command.get_description()), options(command));
  if (!command.get_footer().empty()) text += fmt::format(".PP\n.nf\n{}\n.fi\n", roff(command.get_footer()));
  for (const CLI::App* below : command.get_subcommands([](const CLI::App*) { return true; })) {
    describe(*below, words + " " + below->get_name(), text);
  }
}

std::string manual(const CLI::App& app) {
  std::string text = fmt::format(
      ".TH OPWEAVE 1 \"\" \"opweave {}\" \"User commands\"\n"
      ".SH NAME\nopweave \\- plan the operators of a neural network on the devices of a cluster\n"
      ".SH SYNOPSIS\n\\fBopweave\\fR \\fIcommand\\fR [\\fIoptions\\fR]\n"
      ".SH DESCRIPTION\n{}\n.SH COMMANDS\n",
      roff(OPWEAVE_VERSION), roff(app.get_description()));
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    describe(*command, "opweave " + command->get_name(), text);
  }
  return text + fmt::format(".SH \"EXIT STATUS\"\n.nf\n{}\n.fi\n", roff(app.get_footer()));
}

}  // namespace

void add_manual(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("manual", "the manual page, for man");
  command->footer(
      "Examples:\n"
      "  opweave manual | man -l -\n"
      "  opweave manual > ~/.local/share/man/man1/opweave.1");
  command->callback([&app, &action] {
    action = [&app] {
      print(manual(app));
      return ExitCode::kDone;
    };
  });
}

}  // namespace opweave::cli
