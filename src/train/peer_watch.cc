#include "train/peer_watch.h"

#include <fmt/format.h>

#include <chrono>

namespace lasnet {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBeat{500};
/// A process that shows nothing for so long is lost. Long enough for a machine with too much to do.
constexpr double kSilence = 10;
/// Until everybody knows.
constexpr std::chrono::seconds kFindingOut{15};
/// That rank 0 gives the others to read why it ends.
constexpr milliseconds kFarewell{5000};

constexpr const char* kLost = "lost";

std::string key(const char* what, int rank) { return fmt::format("{}/{}", what, rank); }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Store> store, int rank, std::vector<std::string> names)
    : store_(std::move(store)), rank_(rank), names_(std::move(names)), peers_(names_.size()) {
  thread_ = std::thread([this] { run(); });
}

PeerWatch::~PeerWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::string PeerWatch::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

std::string PeerWatch::wait_for_lost() const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kFindingOut, [this] { return !lost_.empty(); });
  return lost_;
}

void PeerWatch::set_lost(const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) lost_ = text;
  }
  changed_.notify_all();
}

bool PeerWatch::has(const std::string& key) { return store_->check({key}); }

void PeerWatch::run() {
  try {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      lock.unlock();
      store_->add(key("beats", rank_), 1);
      look();
      lock.lock();
      changed_.wait_for(lock, kBeat, [this] { return stopping_; });
    }
  } catch (const std::exception&) {
    // The store is in rank 0's process.
    set_lost(fmt::format("{} is gone: it was killed, or its machine or the network failed", names_[0]));
  }
}

/// Rank 0 looks at all and says what it finds; the others look at rank 0 alone.
void PeerWatch::look() {
  if (rank_ != 0) {
    if (has(kLost)) {
      const std::vector<uint8_t> text = store_->get(kLost);
      set_lost({text.begin(), text.end()});
    }
    look_at(0);
    return;
  }
  for (int peer = 1; peer < static_cast<int>(names_.size()); ++peer) look_at(peer);
  if (const std::string found = lost(); !found.empty()) store_->set(kLost, bytes_of(found));
}

void PeerWatch::look_at(int peer) {
  Peer& seen = peers_[static_cast<size_t>(peer)];
  const std::string& name = names_[static_cast<size_t>(peer)];
  if (has(key("failed", peer))) {
    const std::vector<uint8_t> text = store_->get(key("failed", peer));
    return set_lost(fmt::format("{} stopped: {}", name, std::string(text.begin(), text.end())));
  }
  if (has(key("ended", peer))) return;
  const int64_t beats = store_->add(key("beats", peer), 0);
  if (beats != seen.beats) {
    seen = {.beats = beats, .since_beat = Stopwatch()};
  } else if (seen.since_beat.seconds() > kSilence) {
    set_lost(fmt::format("{} no longer answers: it was killed, or its machine or the network failed", name));
  }
}

void PeerWatch::leave(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  try {
    if (!why.empty() && lost().empty()) store_->set(key("failed", rank_), bytes_of(why));
    store_->set(key("ended", rank_), bytes_of("."));
    if (rank_ != 0) return;
    if (const std::string found = lost(); !found.empty()) store_->set(kLost, bytes_of(found));
    const Stopwatch since;
    const auto all_ended = [this] {
      for (int peer = 1; peer < static_cast<int>(names_.size()); ++peer)
        if (!has(key("ended", peer))) return false;
      return true;
    };
    while (!all_ended() && milliseconds(static_cast<int64_t>(1e3 * since.seconds())) < kFarewell)
      std::this_thread::sleep_for(kBeat / 10);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): nobody is left to be told
  }
}

}  // namespace lasnet
