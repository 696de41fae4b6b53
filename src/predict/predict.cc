// predict_latency: checks the query, and for each block asks the model that the hardware and the query name.
#include <algorithm>
#include <memory>

#include "backends/cpu/prices.h"
#include "backends/cuda/prices.h"
#include "base/enum_names.h"
#include "base/fail.h"
#include "lasnet/geometry.h"
#include "predict/gpu_model.h"
#include "predict/macs_ratio.h"
#include "predict/paper_model.h"

namespace lasnet {
namespace {

constexpr auto kModels = enum_names<LatencyModelKind>(
    "latency model", {{LatencyModelKind::standard, "default"}, {LatencyModelKind::paper, "paper"}});

/// Rounds in which the blocks' schedules and what they do for each other settle.
constexpr int kRoleRounds = 2;

/// What a block's masker leaves to other blocks, and does for them: decided by the plans of all together.
struct BlockRole {
  PatchSumUse sums;
  CudaMaskerShare masker;

  bool operator==(const BlockRole&) const = default;
};

std::vector<BlockRole> roles_of(const ModelSpec& spec, const NetworkGeometry& geometry,
                                const NetworkSchedule& plan) {
  const std::vector<PatchSumUse> sums = patch_sum_uses(spec, geometry, plan);
  const std::vector<CudaMaskerShare> maskers = cuda_masker_shares(spec, geometry, plan);
  std::vector<BlockRole> roles;
  for (size_t b = 0; b < sums.size(); ++b) roles.push_back({sums[b], maskers[b]});
  return roles;
}

double seconds_of(const std::vector<OperatorLatency>& operators) {
  double sum = 0;
  for (const OperatorLatency& latency : operators) sum += latency.seconds;
  return sum;
}

/// One set of equations on one piece of hardware.
class BlockModel {
 public:
  virtual ~BlockModel() = default;
  virtual std::vector<OperatorLatency> static_block(const BlockSpec& block,
                                                    const BlockGeometry& geometry) const = 0;
  /// What runs unless something else is asked for or clearly faster.
  virtual BlockSchedule usual_schedule() const { return {}; }
  virtual ScheduledOperators dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                           const BlockActivity& activity, const BlockRole& role,
                                           const ScheduleConstraint& constraint) const = 0;
  virtual std::vector<OperatorLatency> fixed(const ModelSpec& spec,
                                             const NetworkGeometry& geometry) const = 0;
};

class GpuBlockModel final : public BlockModel {
 public:
  explicit GpuBlockModel(const GpuContext& context) : context_(context) {}

  std::vector<OperatorLatency> static_block(const BlockSpec& block,
                                            const BlockGeometry& geometry) const override {
    return gpu_static_block(block, geometry, context_);
  }
  ScheduledOperators dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                   const BlockActivity& activity, const BlockRole& role,
                                   const ScheduleConstraint& constraint) const override {
    (void)role;
    return gpu_dynamic_block(block, geometry, context_, activity, constraint);
  }
  std::vector<OperatorLatency> fixed(const ModelSpec& spec, const NetworkGeometry& geometry) const override {
    return gpu_fixed(spec, geometry, context_);
  }

 private:
  GpuContext context_;
};

class PaperBlockModel final : public BlockModel {
 public:
  PaperBlockModel(const GpuHardware& gpu, int64_t batch) : gpu_(gpu), batch_(batch) {}

  std::vector<OperatorLatency> static_block(const BlockSpec& block,
                                            const BlockGeometry& geometry) const override {
    return paper_static_block(block, geometry, gpu_, batch_);
  }

  ScheduledOperators dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                   const BlockActivity& activity, const BlockRole& role,
                                   const ScheduleConstraint& constraint) const override {
    (void)role;
    ScheduledOperators best;
    for (const MaskerSchedule masker : {MaskerSchedule::separate, MaskerSchedule::with_conv1}) {
      const BlockSchedule schedule{.masker = masker, .scatter = ScatterSchedule::separate};
      if (!constraint.allows(schedule)) continue;
      std::vector<OperatorLatency> operators =
          block.skips_whole_maps()
              ? paper_skipped_block(block, geometry, gpu_, batch_, activity.rate)
              : paper_dynamic_block(block, geometry, gpu_, batch_, activity.rate, masker);
      if (!best.operators.empty() && seconds_of(operators) >= seconds_of(best.operators)) continue;
      best = {schedule, std::move(operators)};
    }
    if (best.operators.empty()) {
      fail(
          "the paper's equations know conv2 through indices, a separate scatter-add and a masker of its own "
          "or with conv1 only");
    }
    return best;
  }

  std::vector<OperatorLatency> fixed(const ModelSpec& spec, const NetworkGeometry& geometry) const override {
    return paper_fixed(spec, geometry, gpu_, batch_);
  }

 private:
  const GpuHardware& gpu_;
  int64_t batch_;
};

/// Operators as times: the units by the resource they load.
std::vector<OperatorLatency> to_latencies(const std::vector<OperatorWork>& operators,
                                          const CpuHardware& cpu) {
  std::vector<OperatorLatency> latencies;
  for (const OperatorWork& work : operators) {
    OperatorLatency latency{.name = work.name,
                            .utilisation = work.utilisation,
                            .tile = work.tile,
                            .pixels = work.pixels,
                            .macs = work.macs,
                            .bytes = work.bytes};
    for (int i = 0; i < kWorkUnits; ++i) {
      const auto unit = static_cast<WorkUnit>(i);
      const double seconds = work.counts[static_cast<size_t>(i)] * cpu.cost(unit);
      switch (unit) {
        case WorkUnit::weight_memory:
        case WorkUnit::weight_single:
        case WorkUnit::map_memory:
          latency.offchip_s += seconds;
          break;
        case WorkUnit::weight_l2:
        case WorkUnit::weight_l3:
        case WorkUnit::map_l2:
        case WorkUnit::map_l3:
          latency.onchip_s += seconds;
          break;
        case WorkUnit::loop:
        case WorkUnit::block:
          latency.launch_s += seconds;
          break;
        default:
          latency.compute_s += seconds;
      }
      latency.seconds += seconds;
    }
    latencies.push_back(std::move(latency));
  }
  return latencies;
}

/// Starts from what `constraint` asks for, then changes one choice after the other (they hardly depend on
/// each other, and all combinations take too long) where that is clearly faster. `feasible` makes of a wanted
/// plan what runs, `expected` gives a plan's operators.
template <typename Feasible, typename Expected>
ScheduledOperators vary_schedule(const ScheduleConstraint& constraint, const BlockSchedule& usual,
                                 const Feasible& feasible, const Expected& expected) {
  ScheduledOperators best;
  const BlockSchedule start = feasible(constraint.start(usual));
  const ScheduleConstraint fixed = constraint.fixed_to(start);
  const auto try_plan = [&](const BlockSchedule& wanted) {
    const BlockSchedule plan = feasible(wanted);
    if (!fixed.allows(plan)) return;
    std::vector<OperatorLatency> operators = expected(plan);
    const double limit = (1 - kClearGain) * seconds_of(best.operators);
    if (!best.operators.empty() && seconds_of(operators) >= limit) return;
    best = {plan, std::move(operators)};
  };
  try_plan(start);
  const auto vary = [&](auto member, auto option) {
    BlockSchedule plan = best.schedule;
    if (plan.*member == option) return;
    plan.*member = option;
    try_plan(plan);
  };
  vary(&BlockSchedule::traversal, Traversal::row_bands);
  vary(&BlockSchedule::gather, GatherSchedule::copied);
  vary(&BlockSchedule::scatter, ScatterSchedule::separate);
  vary(&BlockSchedule::masker, MaskerSchedule::separate);
  vary(&BlockSchedule::masker, MaskerSchedule::with_conv1);
  return best;
}

/// The mean work of each operation over the outcomes of the masks. An operation that an outcome leaves out
/// counts as fully utilised there.
class MeanWork {
 public:
  void add(const std::vector<OperatorWork>& work, double probability) {
    size_t next = 0;  // where an operation that is new belongs
    for (const OperatorWork& one : work) {
      next = find_or_insert(one.name, next);
      OperatorWork& mean = means_[next++];
      for (size_t u = 0; u < one.counts.size(); ++u) mean.counts[u] += probability * one.counts[u];
      mean.pixels += probability * one.pixels;
      mean.macs += probability * one.macs;
      mean.bytes += probability * one.bytes;
      mean.utilisation += probability * (one.utilisation - 1);
      if (!one.tile.empty()) mean.tile = one.tile;
    }
  }

  const std::vector<OperatorWork>& means() const { return means_; }

 private:
  size_t find_or_insert(const std::string& name, size_t next) {
    const auto found = std::find_if(means_.begin(), means_.end(),
                                    [&](const OperatorWork& mean) { return mean.name == name; });
    if (found != means_.end()) return static_cast<size_t>(found - means_.begin());
    means_.insert(means_.begin() + static_cast<std::ptrdiff_t>(next), OperatorWork{.name = name});
    return next;
  }

  std::vector<OperatorWork> means_;
};

class CpuBlockModel final : public BlockModel {
 public:
  explicit CpuBlockModel(CpuContext context) : context_(std::move(context)) {}

  std::vector<OperatorLatency> static_block(const BlockSpec& block,
                                            const BlockGeometry& geometry) const override {
    const CpuBlockProgram program = cpu_block_program(block, geometry, {}, {});
    return to_latencies(unmasked_work({block, geometry, context_, program}), context_.hardware);
  }

  ScheduledOperators dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                   const BlockActivity& activity, const BlockRole& role,
                                   const ScheduleConstraint& constraint) const override {
    const auto expected = [&](const BlockSchedule& plan) {
      const CpuBlockProgram program = cpu_block_program(block, geometry, plan, role.sums);
      return this->expected({block, geometry, context_, program}, activity);
    };
    const bool has_choice = context_.hardware.precision() == Precision::fp32;
    ScheduledOperators best = vary_schedule(
        constraint, usual_schedule(),
        [&](const BlockSchedule& wanted) {
          return feasible_schedule(block, has_choice ? wanted : usual_schedule());
        },
        expected);
    const CpuBlockProgram program = cpu_block_program(block, geometry, best.schedule, role.sums);
    best.schedule.whole_map_above = whole_map_break_even({block, geometry, context_, program});
    best.operators = expected(best.schedule);
    return best;
  }

  std::vector<OperatorLatency> fixed(const ModelSpec& spec, const NetworkGeometry& geometry) const override {
    return to_latencies(fixed_work(spec, geometry, context_), context_.hardware);
  }

 private:
  /// The mean over the masks' outcomes, operation by operation.
  std::vector<OperatorLatency> expected(const CpuBlockPrice& of, const BlockActivity& activity) const {
    MeanWork mean;
    for (const ActiveCounts& counts : activity.scenarios)
      mean.add(masked_work(of, counts), counts.probability);
    return to_latencies(mean.means(), context_.hardware);
  }

  CpuContext context_;
};

class CudaBlockModel final : public BlockModel {
 public:
  explicit CudaBlockModel(CudaContext context) : context_(std::move(context)) {}

  std::vector<OperatorLatency> static_block(const BlockSpec& block,
                                            const BlockGeometry& geometry) const override {
    return cuda_static_block(block, geometry, context_);
  }
  ScheduledOperators dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                   const BlockActivity& activity, const BlockRole& role,
                                   const ScheduleConstraint& constraint) const override {
    return vary_schedule(
        constraint, usual_schedule(),
        [&](const BlockSchedule& wanted) { return feasible_cuda_schedule(block, wanted); },
        [&](const BlockSchedule& plan) {
          return cuda_dynamic_block(block, geometry, context_, activity, plan, role.masker);
        });
  }
  BlockSchedule usual_schedule() const override { return usual_cuda_schedule(context_.precision); }
  std::vector<OperatorLatency> fixed(const ModelSpec& spec, const NetworkGeometry& geometry) const override {
    return cuda_fixed(spec, geometry, context_);
  }

 private:
  CudaContext context_;
};

std::unique_ptr<BlockModel> make_model(const ModelSpec& spec, const HardwareProfile& hardware,
                                       const LatencyQuery& query) {
  if (hardware.kind() == HardwareKind::cpu) {
    return std::make_unique<CpuBlockModel>(cpu_context(spec, cpu_of(hardware), query.batch, query.threads));
  }
  if (hardware.kind() == HardwareKind::cuda) {
    return std::make_unique<CudaBlockModel>(
        CudaContext{.hardware = cuda_of(hardware), .batch = query.batch, .precision = query.precision});
  }
  if (query.model == LatencyModelKind::paper) {
    return std::make_unique<PaperBlockModel>(gpu_of(hardware), query.batch);
  }
  return std::make_unique<GpuBlockModel>(
      GpuContext{.hardware = gpu_of(hardware), .batch = query.batch, .precision = query.precision});
}

/// Of the patches of one block, where masks are not recorded.
double rate_of(const LatencyQuery& query, size_t block) {
  return query.rates.empty() ? query.rate : query.rates[block];
}

/// `rate`: where masks are not recorded.
BlockActivity activity_of(const BlockSpec& block, const BlockGeometry& geometry, const LatencyQuery& query,
                          double rate) {
  if (query.masks == nullptr) return independent_activity(geometry, query.batch, rate);
  const auto found = query.masks->find(block.name);
  if (found == query.masks->end()) fail("masks: none for block {}", block.name);
  const ByteTensor& mask = found->second;
  const Shape expected = {query.batch, geometry.output.height, geometry.output.width};
  if (mask.shape != expected) {
    fail("masks: block {} has shape [{}]; expected [{}]", block.name, fmt::join(mask.shape, ", "),
         fmt::join(expected, ", "));
  }
  std::vector<uint8_t> patches;
  const auto pixels = static_cast<size_t>(geometry.output.pixels());
  for (size_t n = 0; n < static_cast<size_t>(query.batch); ++n) {
    const auto of_image = patches_of_mask(geometry.grid, std::span(mask.data).subspan(n * pixels, pixels));
    patches.insert(patches.end(), of_image.begin(), of_image.end());
  }
  return recorded_activity(geometry, query.batch, patches);
}

/// Whether two blocks have the same work: all but their names.
bool same_work(const BlockSpec& a, const BlockSpec& b) {
  const auto anonymous = [](BlockSpec block) {
    block.name.clear();
    for (ConvSpec& conv : block.convs) conv.name.clear(), conv.norm_name.clear();
    if (block.projection) block.projection->name.clear(), block.projection->norm_name.clear();
    if (block.squeeze_excite) block.squeeze_excite->name.clear();
    return block;
  };
  return anonymous(a) == anonymous(b);
}

BlockLatency predict_block(const BlockModel& model, const BlockSpec& block, const BlockGeometry& geometry,
                           const BlockRole& role, const LatencyQuery& query, double rate) {
  BlockLatency latency{.name = block.name, .stage = block.stage, .schedule = {}, .operators = {}};
  std::vector<OperatorLatency> operators = model.static_block(block, geometry);
  latency.static_s = seconds_of(operators);
  if (block.is_dynamic()) {
    ScheduledOperators best =
        model.dynamic_block(block, geometry, activity_of(block, geometry, query, rate), role, query.schedule);
    latency.schedule = best.schedule;
    operators = std::move(best.operators);
  }
  latency.dynamic_s = seconds_of(operators);
  latency.operators = std::move(operators);
  return latency;
}

NetworkLatency predict_network(const BlockModel& model, const ModelSpec& spec,
                               const NetworkGeometry& geometry, const std::vector<BlockRole>& roles,
                               const LatencyQuery& query) {
  NetworkLatency network;
  network.fixed = model.fixed(spec, geometry);
  network.static_s = network.dynamic_s = seconds_of(network.fixed);
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    const double rate = rate_of(query, b);
    // Most blocks of a stage are alike; masks that were recorded differ from block to block.
    const bool alike = b > 0 && query.masks == nullptr && rate == rate_of(query, b - 1) &&
                       geometry.blocks[b] == geometry.blocks[b - 1] && roles[b] == roles[b - 1] &&
                       same_work(block, spec.blocks[b - 1]);
    if (alike) {
      network.blocks.push_back(network.blocks.back());
      network.blocks.back().name = block.name;
    } else {
      network.blocks.push_back(predict_block(model, block, geometry.blocks[b], roles[b], query, rate));
    }
    network.static_s += network.blocks.back().static_s;
    network.dynamic_s += network.blocks.back().dynamic_s;
  }
  return network;
}

/// Of recorded masks, as Trace::macs_ratio has it.
double recorded_macs_ratio(const ModelSpec& spec, const NetworkGeometry& geometry,
                           const LatencyQuery& query) {
  return macs_ratio(spec, geometry, [&](size_t b) -> ComputedShares {
    const BlockGeometry& block = geometry.blocks[b];
    const ActiveCounts counts = activity_of(spec.blocks[b], block, query, 1).scenarios.front();
    const auto images = static_cast<double>(query.batch);
    return {.nonempty = counts.images / images,
            .dilated = counts.dilated / (images * static_cast<double>(block.middle.pixels())),
            .active = counts.active / (images * static_cast<double>(block.output.pixels()))};
  });
}

double macs_ratio_of(const ModelSpec& spec, const NetworkGeometry& geometry, const LatencyQuery& query) {
  if (query.masks != nullptr) return recorded_macs_ratio(spec, geometry, query);
  return macs_ratio(spec, geometry,
                    [&](size_t b) { return expected_shares(geometry.blocks[b], rate_of(query, b)); });
}

NetworkSchedule plan_of(const NetworkLatency& network) {
  NetworkSchedule plan;
  for (const BlockLatency& block : network.blocks) plan.blocks.push_back(block.schedule);
  return plan;
}

/// What blocks do for each other depends on all their schedules, which are chosen block by block: until the
/// two agree.
NetworkLatency predict_settled(const BlockModel& model, const ModelSpec& spec,
                               const NetworkGeometry& geometry, const LatencyQuery& query) {
  const NetworkSchedule start = uniform_schedule(spec, query.schedule.start(model.usual_schedule()));
  std::vector<BlockRole> roles = roles_of(spec, geometry, start);
  NetworkLatency network = predict_network(model, spec, geometry, roles, query);
  for (int round = 0; round < kRoleRounds; ++round) {
    std::vector<BlockRole> chosen = roles_of(spec, geometry, plan_of(network));
    if (chosen == roles) break;
    roles = std::move(chosen);
    network = predict_network(model, spec, geometry, roles, query);
  }
  return network;
}

}  // namespace

std::string to_string(LatencyModelKind kind) { return kModels.name(kind); }
LatencyModelKind parse_latency_model(const std::string& text) { return kModels.parse(text); }

BlockSchedule ScheduleConstraint::start(const BlockSchedule& usual) const {
  BlockSchedule plan = usual;
  plan.masker = masker.value_or(plan.masker);
  plan.gather = gather.value_or(plan.gather);
  plan.scatter = scatter.value_or(plan.scatter);
  plan.traversal = traversal.value_or(plan.traversal);
  return plan;
}

ScheduleConstraint ScheduleConstraint::fixed_to(const BlockSchedule& plan) const {
  ScheduleConstraint constraint;
  if (masker) constraint.masker = plan.masker;
  if (gather) constraint.gather = plan.gather;
  if (scatter) constraint.scatter = plan.scatter;
  if (traversal) constraint.traversal = plan.traversal;
  return constraint;
}

bool ScheduleConstraint::allows(const BlockSchedule& plan) const {
  return masker.value_or(plan.masker) == plan.masker && gather.value_or(plan.gather) == plan.gather &&
         scatter.value_or(plan.scatter) == plan.scatter &&
         traversal.value_or(plan.traversal) == plan.traversal;
}

ScheduleConstraint parse_schedule_constraint(const std::string& text) {
  ScheduleConstraint constraint;
  if (text == "auto") return constraint;
  const BlockSchedule plan = parse_block_schedule(text);
  const auto names = [&](const char* key) {
    return ("," + text).find(fmt::format(",{}=", key)) != std::string::npos;
  };
  if (names("whole_map_above")) fail("whole_map_above: the model works it out; leave it out");
  if (names("masker")) constraint.masker = plan.masker;
  if (names("gather")) constraint.gather = plan.gather;
  if (names("scatter")) constraint.scatter = plan.scatter;
  if (names("traversal")) constraint.traversal = plan.traversal;
  return constraint;
}

std::string OperatorLatency::bound() const {
  const std::pair<double, const char*> parts[] = {
      {compute_s, "compute"}, {offchip_s, "offchip"}, {onchip_s, "onchip"}, {launch_s, "launch"}};
  return std::max_element(std::begin(parts), std::end(parts),
                          [](const auto& a, const auto& b) { return a.first < b.first; })
      ->second;
}

void OperatorLatency::add(const OperatorLatency& part, double weight) {
  seconds += weight * part.seconds;
  compute_s += weight * part.compute_s;
  offchip_s += weight * part.offchip_s;
  onchip_s += weight * part.onchip_s;
  launch_s += weight * part.launch_s;
}

namespace {

/// A profile is of kernels of one precision; those of int8 have one schedule.
void check_cpu_precision(const LatencyQuery& query, const HardwareProfile& hardware) {
  const Precision of_profile = cpu_of(hardware).precision();
  if (query.precision != of_profile) {
    fail("precision {}: {} predicts CPU kernels that compute in {}", to_string(query.precision),
         hardware.name, to_string(of_profile));
  }
  if (of_profile == Precision::int8 && !query.schedule.allows(BlockSchedule{}))
    fail("schedule: int8 kernels run {} alone", to_string(BlockSchedule{}));
}

}  // namespace

void check_query(const LatencyQuery& query, const HardwareProfile& hardware) {
  const auto check_rate = [](double rate) {
    if (!(rate >= 0 && rate <= 1)) fail("activation rate {:g}; expected a number from 0 to 1", rate);
  };
  check_rate(query.rate);
  std::ranges::for_each(query.rates, check_rate);
  if (query.batch < 1 || query.batch > 4096) fail("batch {}; expected 1 to 4096 images", query.batch);
  if (query.threads < 1 || query.threads > 1024) fail("{} threads; expected 1 to 1024", query.threads);
  if (hardware.kind() == HardwareKind::cpu) {
    check_cpu_precision(query, hardware);
  } else if (query.precision != Precision::fp32 && query.precision != Precision::fp16) {
    fail("precision {}: {} is a GPU, for which latency is predicted in fp32 and fp16",
         to_string(query.precision), hardware.name);
  }
  if (hardware.kind() == HardwareKind::gpu) return;
  if (query.model == LatencyModelKind::paper) {
    fail("hardware {}: the paper's equations describe {}; use the default model", hardware.name,
         hardware.kind() == HardwareKind::cpu ? "GPUs only"
                                              : "published GPUs (h100, v100, ...), not these kernels");
  }
}

NetworkLatency predict_latency(const ModelSpec& spec, const HardwareProfile& hardware,
                               const LatencyQuery& query) {
  check_query(query, hardware);
  if (!query.rates.empty() && query.rates.size() != spec.blocks.size()) {
    fail("{} activation rates; {} has {} blocks: expected one for each", query.rates.size(), spec.arch.name,
         spec.blocks.size());
  }
  const NetworkGeometry geometry = network_geometry(spec, query.size);
  const std::unique_ptr<BlockModel> model = make_model(spec, hardware, query);
  NetworkLatency best = predict_settled(*model, spec, geometry, query);
  best.macs_ratio = macs_ratio_of(spec, geometry, query);
  const bool is_settled = hardware.kind() == HardwareKind::gpu || query.precision == Precision::int8;
  if (is_settled || query.schedule.masker || !spec.arch.is_dynamic()) return best;
  // Pooled maskers pay off for the blocks of a stage together or not at all, which no block sees alone.
  const bool usually_pooled = model->usual_schedule().masker == MaskerSchedule::incremental;
  LatencyQuery other = query;
  other.schedule.masker = usually_pooled ? MaskerSchedule::separate : MaskerSchedule::incremental;
  NetworkLatency together = predict_settled(*model, spec, geometry, other);
  together.macs_ratio = best.macs_ratio;
  return together.dynamic_s < (1 - kClearGain) * best.dynamic_s ? together : best;
}

NetworkSchedule choose_schedule(const ModelSpec& spec, const HardwareProfile& hardware,
                                const LatencyQuery& query) {
  if (!spec.arch.is_dynamic()) return uniform_schedule(spec, query.schedule.start());
  return plan_of(predict_latency(spec, hardware, query));
}

}  // namespace lasnet
