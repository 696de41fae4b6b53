#include "train/gradient_sum.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace lasnet {
namespace {

/// Large enough that a message's latency is nothing, small enough that the first one leaves early.
constexpr int64_t kBucketBytes = 8 << 20;

/// A pointer whose type depends on the version of libtorch.
using Accumulator = decltype(torch::autograd::impl::grad_accumulator(std::declval<const torch::Tensor&>()));

}  // namespace

/// Gradients come in about the reverse order of the parameters, so the first bucket has the last of them.
struct GradientSum::Buckets {
  struct Bucket {
    std::vector<torch::Tensor> parameters;
    torch::Tensor values;                  ///< their gradients, one after the other
    std::vector<torch::Tensor> gradients;  ///< each in `values`, laid out as its parameter
    size_t missing = 0;
    std::unique_ptr<ProcessGroup::Work> work;
  };

  explicit Buckets(World& of) : world(of) {}

  void add(const torch::Tensor& parameter) {
    if (all.empty() || bytes_of(all.back()) + parameter.nbytes() > static_cast<size_t>(kBucketBytes))
      all.emplace_back();
    all.back().parameters.push_back(parameter);
  }

  static size_t bytes_of(const Bucket& bucket) {
    size_t bytes = 0;
    for (const torch::Tensor& parameter : bucket.parameters) bytes += parameter.nbytes();
    return bytes;
  }

  void allocate() {
    for (Bucket& bucket : all) {
      bucket.values = torch::empty({static_cast<int64_t>(bytes_of(bucket) / sizeof(float))});
      int64_t at = 0;
      for (const torch::Tensor& parameter : bucket.parameters) {
        bucket.gradients.push_back(
            torch::as_strided(bucket.values, parameter.sizes(), parameter.strides(), at));
        at += parameter.numel();
      }
    }
  }

  /// Every process sends them in the same order, whatever gradient comes first.
  void gradient_is_there(size_t bucket) {
    if (!active) return;
    --all[bucket].missing;
    while (next < all.size() && all[next].missing == 0) send(all[next++]);
  }

  void send(Bucket& bucket) {
    const torch::NoGradGuard no_gradient;
    for (size_t i = 0; i < bucket.parameters.size(); ++i) {
      const torch::Tensor& gradient = bucket.parameters[i].grad();
      if (gradient.defined()) {
        bucket.gradients[i].copy_(gradient);
      } else {
        bucket.gradients[i].zero_();
      }
    }
    bucket.work = world.begin_sum(bucket.values);
  }

  void take(Bucket& bucket) {
    bucket.work->wait();
    bucket.work.reset();
    for (size_t i = 0; i < bucket.parameters.size(); ++i) {
      torch::Tensor& parameter = bucket.parameters[i];
      if (parameter.grad().defined()) parameter.mutable_grad() = bucket.gradients[i];
    }
  }

  World& world;
  std::vector<Bucket> all;
  std::vector<Accumulator> accumulators;  ///< keep the hooks
  size_t next = 0;                        ///< bucket to be sent
  bool active = false;
};

GradientSum::GradientSum(World& world, const std::vector<NamedTensor>& parameters) {
  if (world.size() == 1) return;
  buckets_ = std::make_shared<Buckets>(world);
  using torch::autograd::utils::LambdaPostHook;
  using Gradients = torch::autograd::variable_list;
  for (auto parameter = parameters.rbegin(); parameter != parameters.rend(); ++parameter) {
    buckets_->add(parameter->tensor);
    const auto accumulator = torch::autograd::impl::grad_accumulator(parameter->tensor);
    const auto hook = [buckets = std::weak_ptr(buckets_), bucket = buckets_->all.size() - 1](
                          const Gradients& outputs, const Gradients&) {
      if (const auto alive = buckets.lock()) alive->gradient_is_there(bucket);
      return outputs;
    };
    accumulator->add_post_hook(std::make_unique<LambdaPostHook>(hook));
    buckets_->accumulators.push_back(accumulator);
  }
  buckets_->allocate();
}

void GradientSum::begin() {
  if (!buckets_) return;
  buckets_->next = 0;
  buckets_->active = true;
  for (Buckets::Bucket& bucket : buckets_->all) bucket.missing = bucket.parameters.size();
}

void GradientSum::finish() {
  if (!buckets_) return;
  buckets_->active = false;
  // Those with parameters that had no part in the loss.
  while (buckets_->next < buckets_->all.size()) buckets_->send(buckets_->all[buckets_->next++]);
  for (Buckets::Bucket& bucket : buckets_->all) buckets_->take(bucket);
}

}  // namespace lasnet
