#include "train/record.h"

#include <cmath>
#include <limits>

#include "base/fail.h"
#include "formats/printable.h"

namespace lasnet {

Record Record::operator[](const std::string& key) const {
  if (!value_.is_object()) wrong("an object");
  const auto found = value_.find(key);
  if (found == value_.end()) fail("{}: the key '{}' is missing", where_, key);
  return {*found, where_ + "." + key};
}

std::vector<std::pair<std::string, Record>> Record::members() const {
  if (!value_.is_object()) wrong("an object");
  std::vector<std::pair<std::string, Record>> result;
  for (const auto& [key, member] : value_.items())
    result.emplace_back(key, Record(member, where_ + "." + printable(key)));
  return result;
}

std::vector<Record> Record::items() const {
  if (!value_.is_array()) wrong("an array");
  std::vector<Record> result;
  for (size_t i = 0; i < value_.size(); ++i) result.emplace_back(value_[i], fmt::format("{}[{}]", where_, i));
  return result;
}

bool Record::boolean() const {
  if (!value_.is_boolean()) wrong("true or false");
  return value_.get<bool>();
}

std::string Record::text() const {
  if (!value_.is_string()) wrong("a string");
  return value_.get<std::string>();
}

std::vector<std::string> Record::texts() const {
  std::vector<std::string> result;
  for (const Record& item : items()) result.push_back(item.text());
  return result;
}

int64_t Record::integer(int64_t low, int64_t high) const {
  const std::string expected = fmt::format("an integer from {} to {}", low, high);
  if (!value_.is_number_integer()) wrong(expected);
  if (value_.is_number_unsigned() && !std::in_range<int64_t>(value_.get<uint64_t>())) wrong(expected);
  const auto number = value_.get<int64_t>();
  if (number < low || number > high) wrong(expected);
  return number;
}

uint64_t Record::natural() const {
  if (!value_.is_number_unsigned()) wrong("an integer from 0");
  return value_.get<uint64_t>();
}

double Record::number(double low, double high) const {
  const std::string expected = fmt::format("a number from {} to {}", low, high);
  if (!value_.is_number()) wrong(expected);
  const auto number = value_.get<double>();
  if (!(number >= low && number <= high)) wrong(expected);
  return number;
}

double Record::loss() const {
  if (value_.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value_.is_number()) wrong("a number");
  return value_.get<double>();
}

void Record::wrong(const std::string& expected) const {
  fail("{}: expected {}, got {}", where_, expected, printable(to_text(value_)));
}

nlohmann::json parse_record(std::string_view text, const std::string& where) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    fail("{}: not valid JSON at byte {}", where, error.byte);
  } catch (const nlohmann::json::exception&) {
    fail("{}: not valid JSON: a number is too large", where);
  }
}

std::string to_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool same_names(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return to_text(a) == to_text(b);
}

}  // namespace lasnet
