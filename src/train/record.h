// JSON of a file that somebody may have changed. Every value is checked where it is read. Errors say where
// it stands, what was expected and what is there.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lasnet {

class Record {
 public:
  /// `where` names the value in errors; the value must outlive the record.
  Record(const nlohmann::json& value, std::string where) : value_(value), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  /// The member of an object. Throws Error, as all functions below, if it is something else.
  Record operator[](const std::string& key) const;
  std::vector<std::pair<std::string, Record>> members() const;
  std::vector<Record> items() const;

  bool is_null() const { return value_.is_null(); }
  bool boolean() const;
  std::string text() const;
  std::vector<std::string> texts() const;
  int64_t integer(int64_t low, int64_t high) const;
  uint64_t natural() const;
  double number(double low, double high) const;
  /// Any number; null, as which JSON has those that are not finite, is NaN.
  double loss() const;

  [[noreturn]] void wrong(const std::string& expected) const;

 private:
  const nlohmann::json& value_;
  std::string where_;
};

/// Throws Error if the text is no JSON.
nlohmann::json parse_record(std::string_view text, const std::string& where);

/// On one line; bytes that are not UTF-8, which file names may have, are replaced.
std::string to_text(const nlohmann::json& json);

/// Whether names are the same, as far as files keep them.
bool same_names(const std::vector<std::string>& a, const std::vector<std::string>& b);

}  // namespace lasnet
