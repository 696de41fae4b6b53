#include "train/shards.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <future>

#include "base/fail.h"
#include "base/file.h"
#include "base/names.h"
#include "base/numbers.h"
#include "formats/printable.h"
#include "formats/tar.h"
#include "train/config.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxShards = 100'000;
constexpr int kMaxClasses = 1'000'000;
constexpr uint64_t kMaxLabelBytes = 64, kMaxClassListBytes = 64 << 20;
constexpr const char* kClassList = "classes.txt";

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_archive(const fs::path& path) { return lower(path.extension().string()) == ".tar"; }

/// Archives of a folder in name order; none if it is no folder.
std::vector<std::string> archives_in(const fs::path& dir) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end; entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    if (!hidden && is_archive(entry->path())) paths.push_back(entry->path().string());
  }
  std::ranges::sort(paths);
  return paths;
}

/// What stands between anything but letters.
std::vector<std::string_view> words_of(std::string_view text) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  std::vector<std::string_view> words;
  for (auto begin = text.begin(); begin != text.end();) {
    const auto end = std::find_if_not(begin, text.end(), is_letter);
    if (end != begin) words.emplace_back(begin, end);
    begin = std::find_if(end, text.end(), is_letter);
  }
  return words;
}

/// What its folder or its name, in lower case, says: "train", "val", or "" for neither.
std::string part_of(const fs::path& path) {
  const std::string folder = path.parent_path().filename().string(), name = lower(path.stem().string());
  if (folder == "train") return "train";
  if (folder == "val" || folder == "valid") return "val";
  bool trains = false, validates = false;
  for (const std::string_view word : words_of(name)) {
    trains = trains || word.starts_with("train");
    validates = validates || word == "val" || word.starts_with("valid");
  }
  if (trains && validates) fail("{}: its name has both train and val; give it one of them", path.string());
  return trains ? "train" : validates ? "val" : "";
}

ShardPaths by_parts(const std::string& root, const std::vector<std::string>& all) {
  ShardPaths shards{.root = root, .train = {}, .val = {}};
  std::vector<std::string> others;
  for (const std::string& path : all) {
    const std::string part = part_of(path);
    (part == "train" ? shards.train : part == "val" ? shards.val : others).push_back(path);
  }
  if (shards.train.empty() && shards.val.empty()) {
    shards.train = others;
    return shards;
  }
  if (!others.empty())
    fail("{}: neither train nor val is in these names: {}; rename them or take them away", root,
         some_of(others));
  if (shards.train.empty()) fail("{}: there are archives of val, but none of train", root);
  return shards;
}

/// "{08..10}" without the braces.
std::vector<std::string> numbers_from_to(std::string_view text, const std::string& pattern) {
  const size_t dots = text.find("..");
  const std::string_view first = text.substr(0, dots), last = text.substr(dots + 2);
  const auto begin = parse_number<int64_t>(first), end = parse_number<int64_t>(last);
  if (!begin || !end || *begin < 0 || *end < *begin || static_cast<size_t>(*end - *begin) >= kMaxShards)
    fail("{}: {{{}}}: expected numbers such as {{000..012}}, at most {} of them", pattern, text, kMaxShards);
  std::vector<std::string> numbers;
  for (int64_t i = *begin; i <= *end; ++i) numbers.push_back(fmt::format("{:0{}}", i, first.size()));
  return numbers;
}

/// An image or a label, by the name of its member.
struct MemberName {
  std::string key;     ///< up to the first dot of the file's name, with its folder
  std::string suffix;  ///< behind that dot, in small letters
};

MemberName split_name(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t file = slash == name.npos ? 0 : slash + 1;
  const size_t dot = name.find('.', file);
  if (dot == name.npos) return {name, ""};
  return {name.substr(0, dot), lower(name.substr(dot + 1))};
}

bool is_image(const std::string& suffix) {
  return suffix == "jpg" || suffix == "jpeg" || suffix == "png" || suffix == "webp";
}

/// The images of one archive.
struct ShardIndex {
  std::vector<Sample> samples;
  LeftOut left_out;
};

class ShardIndexer {
 public:
  explicit ShardIndexer(const std::string& path)
      : path_(std::make_shared<const std::string>(path)), source_(ByteSource::open(path)) {}

  ShardIndex index() {
    TarReader reader(source_);
    while (const auto member = reader.next()) add(*member);
    close_key();
    if (index_.samples.empty())
      fail("{}: the archive has no image with a label (KEY.jpg and KEY.cls)", *path_);
    return std::move(index_);
  }

 private:
  void add(const TarMember& member) {
    const MemberName name = split_name(member.name);
    if (name.key.empty() || name.key.ends_with('/')) return;  // hidden
    if (name.key != key_) close_key();
    key_ = name.key;
    if (name.suffix == "cls") {
      label_ = read_label(member);
    } else if (is_image(name.suffix) && !image_) {
      image_ = member;
    } else {
      ++index_.left_out[name.suffix.empty() ? "without a suffix" : "." + printable(name.suffix)];
    }
  }

  int read_label(const TarMember& member) const {
    if (member.size <= kMaxLabelBytes) {
      const std::vector<uint8_t> bytes = source_.read(member.offset, member.size);
      std::string text(bytes.begin(), bytes.end());
      while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
      const auto label = parse_number<int>(text);
      if (label && *label >= 0 && *label < kMaxClasses) return *label;
    }
    fail("{}: expected the number of a class, from 0 to {}", named(member.name), kMaxClasses - 1);
  }

  /// The members of a key stand together.
  void close_key() {
    if (image_ && !label_) {
      fail("{}: the image has no label; expected {}.cls beside it", named(image_->name), printable(key_));
    }
    if (image_) {
      index_.samples.push_back({.path = image_->name,
                                .label = *label_,
                                .shard = path_,
                                .offset = image_->offset,
                                .size = image_->size});
    } else if (label_) {
      ++index_.left_out["labels without an image"];
    }
    image_.reset();
    label_.reset();
  }

  std::string named(const std::string& member) const { return *path_ + ": " + printable(member); }

  std::shared_ptr<const std::string> path_;
  ByteSource source_;
  ShardIndex index_;
  std::string key_;
  std::optional<TarMember> image_;
  std::optional<int> label_;
};

/// In the order of the paths, on `threads` threads.
std::vector<ShardIndex> index_all(const std::vector<std::string>& paths, int threads) {
  std::vector<ShardIndex> indices(paths.size());
  std::atomic<size_t> next = 0;
  std::vector<std::future<void>> workers;
  for (int i = 0; i < threads; ++i) {
    workers.push_back(std::async(std::launch::async, [&] {
      for (size_t at = next++; at < paths.size(); at = next++) indices[at] = ShardIndexer(paths[at]).index();
    }));
  }
  for (std::future<void>& worker : workers) worker.wait();
  for (std::future<void>& worker : workers) worker.get();
  return indices;
}

std::vector<Sample> take_samples(std::vector<ShardIndex> indices, LeftOut& left_out) {
  std::vector<Sample> samples;
  for (ShardIndex& index : indices) {
    std::ranges::move(index.samples, std::back_inserter(samples));
    for (const auto& [kind, count] : index.left_out) left_out[kind] += count;
  }
  return samples;
}

/// Lines of the list of classes beside the archives; empty if there is none.
std::vector<std::string> listed_classes(const fs::path& list) {
  std::error_code ignored;
  if (!fs::is_regular_file(list, ignored)) return {};
  const std::vector<uint8_t> bytes = read_file(list.string(), kMaxClassListBytes);
  std::vector<std::string> classes;
  for (const std::string_view line :
       split({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, '\n')) {
    const std::string_view name = line.substr(0, line.find('\r'));
    if (!name.empty()) classes.emplace_back(name);
  }
  return classes;
}

/// The classes' names. Each class has training images.
std::vector<std::string> classes_of(const DataSplit& split) {
  const std::string list = split.root + "/" + kClassList;
  std::vector<std::string> classes = listed_classes(list);
  const int largest = std::ranges::max(split.train, {}, &Sample::label).label;
  const bool listed = !classes.empty();
  if (!listed) {
    for (int label = 0; label <= largest; ++label) classes.push_back(std::to_string(label));
  }
  std::vector<bool> used(classes.size());
  for (const std::vector<Sample>* part : {&split.train, &split.val}) {
    for (const Sample& sample : *part) {
      if (static_cast<size_t>(sample.label) >= classes.size()) {
        fail("{}: class {}, expected one of the {} classes {}, from 0", sample.name(), sample.label,
             classes.size(), listed ? "of " + list : "of the training images");
      }
      if (part == &split.train) used[static_cast<size_t>(sample.label)] = true;
    }
  }
  const auto missing = std::ranges::find(used, false);
  if (missing != used.end()) {
    fail("{}: no training image is of class {}; expected images of each class from 0 to {}", split.root,
         missing - used.begin(), classes.size() - 1);
  }
  if (classes.size() < 2) fail("{}: all images are of one class, expected at least two", split.root);
  return classes;
}

}  // namespace

std::vector<std::string> expand_braces(const std::string& pattern) {
  const size_t open = pattern.find('{');
  if (open == pattern.npos) return {pattern};
  const size_t close = pattern.find('}', open);
  if (close == pattern.npos) fail("{}: a brace is not closed; expected e.g. {{000..012}}", pattern);
  const std::string inside = pattern.substr(open + 1, close - open - 1);
  std::vector<std::string> choices;
  if (inside.find("..") != inside.npos) {
    choices = numbers_from_to(inside, pattern);
  } else {
    for (const std::string_view choice : split(inside, ',')) choices.emplace_back(choice);
  }
  const std::vector<std::string> endings = expand_braces(pattern.substr(close + 1));
  if (choices.size() * endings.size() > kMaxShards)
    fail("{}: {} files, expected at most {}", pattern, choices.size() * endings.size(), kMaxShards);
  std::vector<std::string> names;
  for (const std::string& choice : choices)
    for (const std::string& ending : endings) names.push_back(pattern.substr(0, open) + choice + ending);
  return names;
}

std::optional<ShardPaths> find_shards(const std::string& data) {
  std::error_code ignored;
  if (!fs::is_directory(data, ignored)) {
    if (!is_archive(data)) return std::nullopt;
    const std::vector<std::string> paths = expand_braces(data);
    const std::string folder = fs::path(data.substr(0, data.find('{'))).parent_path().string();
    return by_parts(folder.empty() ? "." : folder, paths);
  }
  std::vector<std::string> all = archives_in(data);
  for (const char* part : {"train", "val", "valid"})
    std::ranges::move(archives_in(fs::path(data) / part), std::back_inserter(all));
  if (all.empty()) return std::nullopt;
  return by_parts(data, all);
}

DataSplit open_shards(const ShardPaths& paths, int threads) {
  DataSplit split{
      .classes = {}, .train = {}, .val = {}, .left_out = {}, .files = paths.train, .root = paths.root};
  split.files.insert(split.files.end(), paths.val.begin(), paths.val.end());
  split.train = take_samples(index_all(paths.train, threads), split.left_out);
  split.val = take_samples(index_all(paths.val, threads), split.left_out);
  split.classes = classes_of(split);
  return split;
}

}  // namespace lasnet
