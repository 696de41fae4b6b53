#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "request_error.h"
#include "scheduler.h"
#include "served.h"

namespace lasnet::serve {
namespace {

using namespace std::chrono_literals;

/// A request for the logits of a random input.
class Asked {
 public:
  Asked(const std::shared_ptr<const ServedModel>& model, uint64_t seed,
        const Json& parameters = Json::object())
      : input_(test::random_input(1, {64, 64}, seed)),
        body_(tensor_body(input_, {{"parameters", parameters}, {"outputs", {{{"name", "logits"}}}}})),
        inference_(resolve(model, parse_infer_request(body_.text, std::to_string(body_.json_size), 1 << 20),
                           {}, 1)) {}
  Asked(const Asked&) = delete;

  const Inference& inference() const { return inference_; }
  const Tensor& input() const { return input_; }

 private:
  Tensor input_;
  BinaryBody body_;
  Inference inference_;
};

std::vector<float> logits_of(const Answer& answer) {
  return std::get<std::vector<float>>(answer.outputs.at(0).values);
}

int status_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const RequestError& error) {
    return error.status();
  }
  return 200;
}

class SchedulerTest : public testing::Test {
 protected:
  std::vector<float> expected(const Asked& asked) { return session_.run(asked.input()).logits.data; }
  /// Asks from so many threads, and expects every answer to be that of its request.
  void expect_right_answers(Scheduler& scheduler, int threads, int each) {
    std::vector<std::future<int>> results;
    for (int t = 0; t < threads; ++t) {
      results.push_back(std::async(std::launch::async, [&, t] {
        int wrong = 0;
        for (int i = 0; i < each; ++i) {
          const Asked asked(model_, static_cast<uint64_t>(t * each + i));
          const std::vector<float> got = logits_of(scheduler.run(asked.inference()));
          const std::lock_guard lock(mutex_);
          wrong += got == expected(asked) ? 0 : 1;
        }
        return wrong;
      }));
    }
    for (auto& result : results) EXPECT_EQ(result.get(), 0);
  }

  std::shared_ptr<const ServedModel> model_ = make_served_model("small", small_model(), {});
  Metrics metrics_;
  std::mutex mutex_;
  Session session_{small_model()};
};

TEST_F(SchedulerTest, EveryRequestGetsItsOwnAnswer) {
  Scheduler scheduler({.workers = 3}, metrics_);
  expect_right_answers(scheduler, 8, 6);
  EXPECT_EQ(scheduler.queue_length(), 0U);
}

TEST_F(SchedulerTest, BatchesGiveTheSameBits) {
  Scheduler scheduler({.workers = 2, .max_batch = 4, .batch_delay = 2ms}, metrics_);
  expect_right_answers(scheduler, 8, 6);
}

TEST_F(SchedulerTest, WarmSessionsGiveTheSameBits) {
  Scheduler scheduler({.workers = 3}, metrics_);
  const long cold = model_->executable.use_count();
  scheduler.warm_up({model_});
  const long warm = model_->executable.use_count();
  EXPECT_GE(warm, cold + 3) << "a session per worker holds it";
  expect_right_answers(scheduler, 8, 2);
  EXPECT_EQ(model_->executable.use_count(), warm) << "requests make no sessions of their own";
  // Another model of the name, while requests for the one before still come.
  const auto replaced = std::exchange(model_, make_served_model("small", small_model(2), {}));
  scheduler.warm_up({model_});
  const Asked before(replaced, 3), after(model_, 3);
  const std::vector<float> new_logits = Session(small_model(2)).run(after.input()).logits.data;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(logits_of(scheduler.run(before.inference())), expected(before));
    EXPECT_EQ(logits_of(scheduler.run(after.inference())), new_logits);
  }
}

TEST_F(SchedulerTest, WhatDiffersDoesNotRunTogether) {
  Scheduler scheduler({.workers = 1, .max_batch = 8, .batch_delay = 200ms}, metrics_);
  const Asked plain(model_, 1), dense(model_, 1, {{"dense", true}}), other(model_, 2);
  auto first = std::async(std::launch::async, [&] { return scheduler.run(plain.inference()); });
  auto second = std::async(std::launch::async, [&] { return scheduler.run(dense.inference()); });
  auto third = std::async(std::launch::async, [&] { return scheduler.run(other.inference()); });
  const Answer together = first.get();
  EXPECT_EQ(logits_of(together), expected(plain));
  EXPECT_EQ(logits_of(second.get()), session_.run(dense.input(), {.dense = true}).logits.data);
  EXPECT_EQ(logits_of(third.get()), expected(other));
  EXPECT_LE(together.batch_images, 2);
}

/// Keeps a worker busy until it is let go.
struct Gate {
  std::promise<void> open;
  std::shared_future<void> opened = open.get_future().share();
  std::promise<void> reached;
  std::function<bool()> wait = [this, first = std::make_shared<std::atomic<bool>>(true)] {
    if (first->exchange(false)) reached.set_value();
    opened.wait();
    return false;
  };
};

TEST_F(SchedulerTest, AFullQueueRefuses) {
  Scheduler scheduler({.workers = 1, .queue = 1}, metrics_);
  Gate gate;
  const Asked first(model_, 1), second(model_, 2), third(model_, 3);
  auto running = std::async(std::launch::async, [&] { return scheduler.run(first.inference(), gate.wait); });
  gate.reached.get_future().wait();
  auto waiting = std::async(std::launch::async, [&] { return scheduler.run(second.inference()); });
  while (scheduler.queue_length() == 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(status_of([&] { scheduler.run(third.inference()); }), kTooManyRequests);
  gate.open.set_value();
  EXPECT_EQ(logits_of(running.get()), expected(first));
  EXPECT_EQ(logits_of(waiting.get()), expected(second));
}

TEST_F(SchedulerTest, WhatWaitsForTooLongIsGivenUp) {
  Scheduler scheduler({.workers = 1}, metrics_);
  Gate gate;
  const Asked first(model_, 1), hurried(model_, 2, {{"timeout", 20'000}});
  auto running = std::async(std::launch::async, [&] { return scheduler.run(first.inference(), gate.wait); });
  gate.reached.get_future().wait();
  EXPECT_EQ(status_of([&] { scheduler.run(hurried.inference()); }), kTimeout);
  EXPECT_EQ(scheduler.queue_length(), 0U);
  gate.open.set_value();
  EXPECT_EQ(logits_of(running.get()), expected(first));
}

TEST_F(SchedulerTest, ARunEndsAtItsDeadline) {
  Scheduler scheduler({.workers = 1}, metrics_);
  const Asked hurried(model_, 1, {{"timeout", 1}}), next(model_, 2);
  EXPECT_EQ(status_of([&] { scheduler.run(hurried.inference()); }), kTimeout);
  EXPECT_EQ(logits_of(scheduler.run(next.inference())), expected(next));
}

TEST_F(SchedulerTest, NothingRunsForAClientThatWentAway) {
  Scheduler scheduler({.workers = 1}, metrics_);
  const Asked asked(model_, 1);
  EXPECT_EQ(status_of([&] { scheduler.run(asked.inference(), [] { return true; }); }), kClientGone);
}

}  // namespace
}  // namespace lasnet::serve
