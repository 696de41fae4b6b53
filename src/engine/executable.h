// What a backend implements: an Executable (immutable, shared) that makes Runners (one per session).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "lasnet/engine.h"
#include "lasnet/geometry.h"
#include "lasnet/hardware.h"

namespace lasnet {

struct LayerOutput;

/// Told of listed pixels of maps, each with the name of a layer.
struct LayerObserver {
  std::function<void(const LayerOutput&)> wrote;  ///< what a convolution has just computed
  /// What a block's first convolution, its projection and the head are about to read. Others read what was
  /// written last.
  std::function<void(const LayerOutput&)> reads;
};

/// One validated run.
struct RunRequest {
  const TensorView* input = nullptr;  ///< [N, 3, H, W]
  NetworkGeometry geometry;
  std::vector<BlockMacs> macs;  ///< of each block
  bool dense = false;
  bool record_masks = true;
  bool check_finite = false;
  TimeSource time = TimeSource::wall;
  bool time_blocks = false;
  bool time_operations = false;
  const std::function<bool()>* stop = nullptr;  ///< RunOptions::stop
  std::vector<float> thresholds;  ///< of each block: its patches are active from this difference on
  /// Forced patch decisions [N, rows, cols] per block; empty: the masker decides.
  std::vector<std::vector<uint8_t>> forced_patches;
  /// Where the map goes that so many blocks come before, shaped for it; null, or beyond the end: nowhere.
  std::vector<Tensor*> features;
  MapLayout feature_layout = MapLayout::nchw;
  /// Who looks at layers; null: nobody. Of the cpu backend in fp32.
  const LayerObserver* layers = nullptr;

  bool inspects_layers() const { return check_finite || layers != nullptr; }
  /// Shows a layer's output to whoever asked.
  void inspect(const LayerOutput& output) const;
  Tensor* feature(size_t blocks) const { return blocks < features.size() ? features[blocks] : nullptr; }
  int64_t batch() const { return input->shape[0]; }
  /// Throws Error if the caller asks to stop.
  void check_stop() const;
};

/// A backend's per-session state: activation memory, and where its loops run.
class Runner {
 public:
  virtual ~Runner() = default;
  /// Overwrites `result`, whose memory it uses again.
  virtual void run(const RunRequest& request, Result& result) = 0;
};

class Executable : public std::enable_shared_from_this<Executable> {
 public:
  Executable(ModelSpec spec, Backend backend, Isa isa, Precision precision = Precision::fp32)
      : spec_(std::move(spec)), backend_(backend), isa_(isa), precision_(precision) {}
  virtual ~Executable() = default;
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  const ModelSpec& spec() const { return spec_; }
  Backend backend() const { return backend_; }
  Isa isa() const { return isa_; }
  Precision precision() const { return precision_; }
  /// Bytes that a run of so many images takes beside the weights, as far as the backend says: 0 if not.
  virtual int64_t run_bytes(const NetworkGeometry&, int64_t /*images*/) const { return 0; }
  virtual std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const = 0;

 private:
  ModelSpec spec_;
  Backend backend_;
  Isa isa_;
  Precision precision_;
};

/// Throws Error on an instruction set or a precision that is none of the backend's.
void check_backend_options(Backend backend, std::optional<Isa> isa, Precision precision);

/// Throws Error on NaN, and on another number than none, one, or one for each block.
void check_thresholds(const std::vector<float>& thresholds, const ModelSpec& spec);

/// Backends' factories; `model` has passed check_weights.
std::shared_ptr<const Executable> make_reference_executable(const Model& model);
std::shared_ptr<const Executable> make_cpu_executable(const Model& model, Isa isa,
                                                      const NetworkSchedule& plan);
/// In Precision::int8, of a model with a quantization, which is checked.
std::shared_ptr<const Executable> make_int8_reference_executable(const Model& model);
std::shared_ptr<const Executable> make_int8_executable(const Model& model, Isa isa,
                                                       const NetworkSchedule& plan);
/// What is known of a device: its costs choose tiles and, without a plan, schedules.
struct DeviceCalibration {
  /// Of the device with this name; nothing if it has not been calibrated.
  std::function<std::optional<HardwareProfile>(const std::string& device)> profile_of;
  /// The plan for batches of so many images; nothing where the profile does not say.
  std::function<std::optional<NetworkSchedule>(const ModelSpec&, const HardwareProfile&, Precision, MapSize,
                                               int64_t images)>
      choose_schedule;
};
/// Throws Error in builds without CUDA and on machines without a device that can run `precision`.
std::shared_ptr<const Executable> make_cuda_executable(const Model& model, Precision precision,
                                                       const std::optional<NetworkSchedule>& plan,
                                                       const DeviceCalibration& calibration);

}  // namespace lasnet
