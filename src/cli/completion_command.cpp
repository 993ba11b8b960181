#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/output.h"

namespace opweave::cli {
namespace {

/// "--output -o" of one command, and of the commands below it, by its words ("convert pipeline").
struct Entry {
  std::string words;
  std::string description;
  std::vector<std::string> commands;
  std::vector<const CLI::Option*> options;
};

void collect(const CLI::App& app, const std::string& words, std::vector<Entry>& entries) {
  Entry entry{words, app.get_description(), {}, {}};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    entry.commands.push_back(command->get_name());
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->nonpositional()) entry.options.push_back(option);
  }
  entries.push_back(entry);
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    collect(*command, words.empty() ? command->get_name() : words + " " + command->get_name(), entries);
  }
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

std::vector<std::string> spellings(const Entry& entry) {
  std::vector<std::string> result;
  for (const CLI::Option* option : entry.options) {
    for (const std::string& name : option->get_lnames()) result.push_back("--" + name);
    for (const std::string& name : option->get_snames()) result.push_back("-" + name);
  }
  return result;
}

/// First sentence on one line, without quotes of the shell.
std::string plain(std::string text) {
  text = text.substr(0, text.find('\n'));
  std::erase_if(text, [](char c) { return c == '\'' || c == '[' || c == ']' || c == '"' || c == '`'; });
  std::ranges::replace(text, ':', ',');
  return text;
}

std::string bash(const std::vector<Entry>& entries) {
  std::string cases;
  for (const Entry& entry : entries) {
    cases += fmt::format("    '{}') commands='{}' options='{}' ;;\n", entry.words, joined(entry.commands),
                         joined(spellings(entry)));
  }
  return R"(# bash completion for opweave: source it, or put it into ~/.local/share/bash-completion/completions/opweave
_opweave() {
  local current=${COMP_WORDS[COMP_CWORD]} words='' word commands='' options=''
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$words" in
      '' | convert) [[ $word == -* ]] || words="${words:+$words }$word" ;;
    esac
  done
  case "$words" in
)" + cases +
         R"(  esac
  COMPREPLY=()
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -o filenames -F _opweave opweave
)";
}

std::string zsh(const std::vector<Entry>& entries) {
  std::string cases;
  for (const Entry& entry : entries) {
    std::string options;
    for (const CLI::Option* option : entry.options) {
      for (const std::string& name : option->get_lnames()) {
        options += fmt::format(" '--{}:{}'", name, plain(option->get_description()));
      }
      for (const std::string& name : option->get_snames()) {
        options += fmt::format(" '-{}:{}'", name, plain(option->get_description()));
      }
    }
    std::string commands;
    for (const std::string& command : entry.commands) {
      const std::string words = entry.words.empty() ? command : entry.words + " " + command;
      const auto below = std::ranges::find(entries, words, &Entry::words);
      commands += fmt::format(" '{}:{}'", command, plain(below->description));
    }
    cases += fmt::format("    '{}') commands=({}) options=({}) ;;\n", entry.words, commands, options);
  }
  return R"(#compdef opweave
# zsh completion for opweave: put it as _opweave into a folder of $fpath
_opweave() {
  local chosen='' word
  local -a commands options
  for word in ${words[2,CURRENT-1]}; do
    case "$chosen" in
      '' | convert) [[ $word == -* ]] || chosen="${chosen:+$chosen }$word" ;;
    esac
  done
  case "$chosen" in
)" + cases +
         R"(  esac
  if [[ ${words[CURRENT]} == -* ]]; then
    _describe -o 'option' options
  elif (( ${#commands} )); then
    _describe 'command' commands
  else
    _files
  fi
}
if [ "$funcstack[1]" = _opweave ]; then _opweave "$@"; else compdef _opweave opweave; fi
)";
}

std::string fish(const std::vector<Entry>& entries) {
  std::string text =
      "# fish completion for opweave: put it into ~/.config/fish/completions/opweave.fish\n"
      "complete -c opweave -e\n";
  for (const Entry& entry : entries) {
    // A command is chosen once all its words were given, and until a word of a command below it is.
    std::string condition;
    std::string words = entry.words;
    for (std::ranges::replace(words, ' ', '\n'); !words.empty();) {
      const auto end = words.find('\n');
      condition += fmt::format("__fish_seen_subcommand_from {}; and ", words.substr(0, end));
      words.erase(0, end == words.npos ? words.npos : end + 1);
    }
    condition +=
        entry.commands.empty() ? "true" : fmt::format("not __fish_seen_subcommand_from {}", joined(entry.commands));
    for (const std::string& command : entry.commands) {
      const std::string full = entry.words.empty() ? command : entry.words + " " + command;
      const auto below = std::ranges::find(entries, full, &Entry::words);
      text += fmt::format("complete -c opweave -f -n '{}' -a '{}' -d '{}'\n", condition, command,
                          plain(below->description));
    }
    for (const CLI::Option* option : entry.options) {
      text += fmt::format("complete -c opweave -n '{}'", condition);
      for (const std::string& name : option->get_snames()) text += " -s " + name;
      for (const std::string& name : option->get_lnames()) text += " -l " + name;
      if (option->get_items_expected_max() > 0) text += " -r";
      text += fmt::format(" -d '{}'\n", plain(option->get_description()));
    }
  }
  return text;
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "completion of commands and options for a shell");
  command->footer(
      "Examples:\n"
      "  opweave completion bash > ~/.local/share/bash-completion/completions/opweave\n"
      "  opweave completion zsh > ~/.zfunc/_opweave   # a folder of $fpath\n"
      "  opweave completion fish > ~/.config/fish/completions/opweave.fish");
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell, &app, &action] {
    action = [shell, &app] {
      std::vector<Entry> entries;
      collect(app, "", entries);
      print(*shell == "bash" ? bash(entries) : *shell == "zsh" ? zsh(entries) : fish(entries));
      return ExitCode::kDone;
    };
  });
}

}  // namespace opweave::cli
