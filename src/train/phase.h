// One phase of training: a network, a loss, a learning-rate schedule, epochs of steps.
#pragma once

#include <functional>
#include <string>

#include "train/budget.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/gradient_sum.h"
#include "train/losses.h"
#include "train/optimizer.h"
#include "train/weight_average.h"

namespace lasnet {

struct PhaseSettings {
  std::string name;         ///< as reported
  std::string data_stream;  ///< names the random sequence of shuffling and augmentation
  int epochs = 1;
  double lr = 0;  ///< peak, for this batch size
  double weight_decay = 0;
  double warmup = 0;        ///< share of the steps
  bool dynamic = false;     ///< masks, Gumbel noise and the compute budget
  double images_per_s = 0;  ///< expected before the first step
  double images_after = 0;  ///< to be trained on in the phases that follow
};

/// Images that take as long to train on as the epochs take, evaluation included.
double training_images(const TrainData& data, int batch, double epochs);

struct StepProbe {
  double images_per_s = 0;
  double masker_gain = 1;  ///< as MaskerTraining::gain
};

class Phase {
 public:
  /// `teacher` may be null: then there is no distillation. All references must outlive the phase.
  Phase(const TrainConfig& config, PhaseSettings settings, const Budget& budget, const TrainData& data,
        MaskedNet& net, const MaskedNet* teacher, World& world, const TrainObserver& observer);

  /// What an interrupted phase remembers beside the network: the optimiser's state, and the weights' average.
  void set_momentum(const Weights& momentum);
  Weights momentum() const;

  /// Continues at `state` and moves it on; `step_done` is called after each step, `epoch_done` after each
  /// evaluated epoch. At the end the network has the weights' average, if one is asked for. Returns false if
  /// the observer asked to stop, `state` then being where to continue. Throws Error if the loss is not
  /// finite.
  bool run(RunState& state, const std::function<void()>& step_done, const std::function<void()>& epoch_done);

  /// Takes steps on the batch, without an update. The network's running statistics change.
  StepProbe probe(const Batch& images);

 private:
  bool train_epoch(RunState& state, const std::function<void()>& step_done);
  /// The cost as it is predicted where the masks are.
  NetworkCost cost_at(const RunState& state) const;
  bool renew_statistics();
  bool evaluate_epoch(RunState& state);
  void train_step(const Batch& batch, int64_t global_step, EpochSums& sums);
  Batch on_device(Batch batch) const;
  /// In the precision of the run.
  MaskedOutput forward(const MaskedNet& net, const Batch& batch, const MaskPolicy& policy,
                       bool training) const;
  /// A step's loss as two terms.
  struct Loss {
    torch::Tensor images;  ///< of this process's share, weighted: the processes' sum is that of the batch
    torch::Tensor budget;  ///< of the whole batch in every process; its gradients are the share's
    // Terms of `images`, without gradients.
    torch::Tensor distillation = torch::zeros({}), features = torch::zeros({});
  };
  Loss loss(const Batch& batch, const MaskedOutput& output, int64_t global_step) const;
  torch::Tensor budget_loss(const Batch& batch, const MaskedOutput& output, int64_t global_step) const;
  /// Of the whole batch.
  struct StepFigures {
    LossParts losses;
    double macs_ratio = 1;
    int64_t correct = 0;
  };
  StepFigures figures_of(const Batch& batch, const MaskedOutput& output, const Loss& loss) const;
  /// What the masks of the whole batch were decided on.
  std::vector<torch::Tensor> decisions(const Batch& batch, const MaskedOutput& output) const;
  double masker_gain() const;
  MaskPolicy policy(const Batch& batch, int64_t global_step, Random& random) const;

  double progress(int64_t global_step) const;
  double ramp(int64_t global_step) const;
  double target_at(int64_t global_step) const;
  double learning_rate(int64_t global_step) const;
  std::string learning_rate_setting() const;
  double gumbel_temperature(int64_t global_step) const;
  bool should_stop() const;
  void report_step(const RunState& state, const std::string& phase, int64_t step, int64_t steps) const;

  const TrainConfig& config_;
  PhaseSettings settings_;
  const TrainData& data_;
  MaskedNet& net_;
  const MaskedNet* teacher_;
  World& world_;
  const TrainObserver& observer_;
  const Budget& budget_;
  NetworkCost cost_;     ///< settled anew before each epoch
  CostAccount account_;  ///< of MACs, for reports
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;  ///< null without one
  GradientSum gradients_;
  int64_t steps_per_epoch_, steps_;
  double last_macs_ratio_ = 1;
  double images_per_s_;
};

}  // namespace lasnet
