// The command line parser, and what this program adds to it.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "lasnet/error.h"

namespace lasnet::cli {

/// The parser of a program. It and its commands are made in cli.cc, so that the writers of help and
/// configuration files, which take seconds to compile, are compiled there alone.
std::unique_ptr<CLI::App> make_parser(const std::string& name, const std::string& description);
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description);

/// A wrong use of the program that only shows after parsing. Exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// What `function` returns; an Error from it is a wrong use, said after `prefix`.
template <typename Function>
auto as_usage(const Function& function, const std::string& prefix = "") {
  try {
    return function();
  } catch (const Error& error) {
    throw UsageError(prefix + error.what());
  }
}

/// An option whose text goes to `accept`; an Error from it is a usage error.
template <typename Accept>
CLI::Option* add_parsed(CLI::App& app, const std::string& name, const std::string& help, Accept accept) {
  const auto callback = [name, accept](const std::string& text) {
    try {
      accept(text);
    } catch (const Error& error) {
      throw CLI::ValidationError(name, error.what());
    }
  };
  return app.add_option_function<std::string>(name, callback, help);
}

/// A number of [low, high]; "nan" is none.
CLI::Validator in_range(double low, double high);

/// A finite number greater than 0.
CLI::Validator above_zero();

/// A whole number of [low, high].
CLI::Validator whole_number(uint64_t low = 0, uint64_t high = UINT64_MAX);

/// A whole number of [low, high].
CLI::Option* add_number(CLI::App& app, const std::string& name, int& value, int low, int high,
                        const std::string& help);

}  // namespace lasnet::cli
