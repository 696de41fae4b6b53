#include "program.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "base/escape.h"
#include "base/fail.h"
#include "base/numbers.h"
#include "base/suggest.h"
#include "formats/pytorch/state_dict.h"
#include "log.h"
#include "terminal.h"

namespace lasnet::cli {

const bool kTraining = LASNET_TRAINING;

namespace {

/// Accepts texts whose number passes `accepts`; "" where CLI11 asks for a description.
CLI::Validator number_check(const std::string& expected, std::function<bool(double)> accepts) {
  const auto check = [expected, accepts = std::move(accepts)](const std::string& text) -> std::string {
    double number = 0;
    if (CLI::detail::lexical_cast(text, number) && accepts(number)) return "";
    return fmt::format("'{}' is not a number {}", text, expected);
  };
  return CLI::Validator(check, "");
}

}  // namespace

CLI::Validator in_range(double low, double high) {
  return number_check(fmt::format("from {:g} to {:g}", low, high),
                      [=](double number) { return number >= low && number <= high; });
}

CLI::Validator above_zero() {
  return number_check("greater than 0", [](double number) { return std::isfinite(number) && number > 0; });
}

CLI::Validator whole_number(uint64_t low, uint64_t high) {
  const auto check = [=](const std::string& text) -> std::string {
    const auto number = parse_number<uint64_t>(text);
    if (number && *number >= low && *number <= high) return "";
    return fmt::format("'{}' is not a whole number from {} to {}", text, low, high);
  };
  return CLI::Validator(check, "");
}

CLI::Option* add_number(CLI::App& app, const std::string& name, int& value, int low, int high,
                        const std::string& help) {
  return app.add_option(name, value, help)
      ->check(whole_number(static_cast<uint64_t>(low), static_cast<uint64_t>(high)))
      ->type_name("N")
      ->capture_default_str();
}

int guarded(const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& error) {
    log_error(error.what());
    return kExitUsage;
  } catch (const SeveralStateDicts& error) {
    log_error(fmt::format("{}; choose one with --state-dict", error.what()));
  } catch (const std::bad_alloc&) {
    log_error("out of memory: try a smaller batch or a smaller input");
  } catch (const Error& error) {
    log_error(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    log_error(fmt::format("{}: {}", error.path1().string(), error.code().message()));
  } catch (const std::exception& error) {
    log_error(fmt::format("a fault in this program: please report it with the command ({})", error.what()));
  }
  return kExitError;
}

namespace {

/// The command that was named, else the program itself.
const CLI::App& named_command(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

/// What an argument that the parser does not know could have meant: options, or the program's commands.
std::vector<std::string> known_arguments(const CLI::App& command, bool options) {
  std::vector<std::string> known;
  if (!options) {
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(sub->get_name());
    return known;
  }
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  return known;
}

/// Names the first unexpected argument, options first, and what it may have been meant for.
std::string describe_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(true);
  const auto is_option = [](const std::string& argument) { return argument.starts_with("-"); };
  // A mistyped command's own options are not at fault.
  const bool command_expected = &named_command(app) == &app && !known_arguments(app, false).empty();
  const auto option = command_expected && !is_option(extras.front())
                          ? extras.end()
                          : std::find_if(extras.begin(), extras.end(), is_option);
  const std::string& extra = option != extras.end() ? *option : extras.front();
  const CLI::App& command = named_command(app);
  const auto known = known_arguments(command, is_option(extra));
  const std::string near = nearest_name(extra.substr(0, extra.find('=')), known);
  const char* kind = is_option(extra) ? "an option" : known.empty() ? "an argument" : "a command";
  return fmt::format("'{}' is not {} of {}{}", excerpt(extra), kind, command.get_name(),
                     near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace

namespace {

/// "-" stands for standard input or output in other programs. Here files are read at any place and replaced
/// whole, which streams cannot be.
void refuse_standard_streams(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& values = option->results();
    if (std::find(values.begin(), values.end(), "-") == values.end()) continue;
    throw CLI::ValidationError(option->get_name(),
                               "'-' is no file here: give a name (/dev/stdout for standard output; ./- for a "
                               "file that is called so)");
  }
}

/// The option that a message of the parser begins with, if it is one.
const CLI::Option* named_option(const CLI::App& command, const std::string& message) {
  return command.get_option_no_throw(message.substr(0, message.find(':')));
}

/// The parser's own words, where they say what is wrong in terms of the command line; else ours.
std::string describe_wrong_use(const CLI::App& app, const CLI::Error& error) {
  const std::string message = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) return describe_extras(app);
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    const size_t colon = message.find(": ");  // Could not convert: --json = maybe
    return message.substr(colon == std::string::npos ? 0 : colon + 2) + ": this option takes no such value";
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) == nullptr) return message;
  const CLI::Option* option = named_option(named_command(app), message);
  if (option == nullptr) return message;
  if (option->results().empty())
    return fmt::format("{} needs a value: {}", option->get_name(), option->get_type_name());
  return fmt::format("{} is given {} times; expected once", option->get_name(), option->results().size());
}

}  // namespace

int parse(CLI::App& app, int argc, char** argv) {
  app.failure_message([](const CLI::App* parsed, const CLI::Error& error) {
    return fmt::format("error: {}\nRun with --help for more information.\n",
                       as_message(describe_wrong_use(*parsed, error)));
  });
  try {
    app.parse(argc, argv);
    refuse_standard_streams(named_command(app));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return -1;
}

}  // namespace lasnet::cli
