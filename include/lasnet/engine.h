// Running a network: a Session plans once per input size, then runs batches and returns logits and a trace.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/executor.h"
#include "lasnet/model.h"
#include "lasnet/precision.h"
#include "lasnet/schedule.h"
#include "lasnet/tensor.h"

namespace lasnet {

/// Who runs a network. `reference`: plain loops over the masked dense network, against which the others are
/// tested. `cpu`: fused sparse kernels. `cuda`: the same on an NVIDIA GPU, in builds with CUDA.
enum class Backend { reference, cpu, cuda };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(Backend backend);
LASNET_EXPORT Backend parse_backend(const std::string& text);

/// Instruction sets of the CPU kernels. `scalar` is portable C++, `neon` is AArch64's.
enum class Isa { scalar, avx2, avx512, neon };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(Isa isa);
LASNET_EXPORT Isa parse_isa(const std::string& text);
/// Sets compiled into this library that this processor can run, slowest first; never empty.
LASNET_EXPORT std::vector<Isa> available_isas();

/// Kernels for Precision::int8 compiled into this library that this processor can run, slowest first:
/// "scalar", "avx2", "avx_vnni", "avx512_vnni", "neon", "neon_dotprod". Sessions run the fastest that belong
/// to their Isa.
LASNET_EXPORT std::vector<std::string> available_int8_kernel_names();

/// A GPU that CUDA shows to this process. Sessions use the first one (CUDA_VISIBLE_DEVICES orders them).
struct CudaDevice {
  std::string name;            ///< as CUDA names it
  int compute_capability = 0;  ///< 10 * major + minor
  int multiprocessors = 0;     ///< streaming multiprocessors
  int64_t memory_bytes = 0;    ///< of the device
};
/// The GPUs of this process; empty without a usable one.
LASNET_EXPORT std::vector<CudaDevice> cuda_devices();
/// Why there is no GPU: a build without CUDA, no driver, no device. Empty if there is one.
LASNET_EXPORT std::string cuda_unavailable_reason();
/// The compute capability (90: 9.0) of the kernels that run on the first device, as they were compiled.
/// Kernels compiled for an older one than the device's are right, but not as fast. 0: this build has no
/// kernels for the device, or there is no device.
LASNET_EXPORT int cuda_code_architecture();

/// How a session runs.
struct SessionOptions {
  Backend backend = Backend::cpu;  ///< who runs the network
  /// Instruction set of the cpu backend; default: the fastest available. One that the machine lacks throws
  /// Error.
  std::optional<Isa> isa = std::nullopt;
  int threads = 1;  ///< 1 to 1024; results do not depend on it
  /// fp32 on every backend. int8 on cpu and reference, for models with a Quantization. Others on cuda.
  Precision precision = Precision::fp32;
  /// Runs the session's loops instead of threads of its own. `threads` then has no meaning.
  std::shared_ptr<Executor> executor = nullptr;
  /// One schedule for every block, as far as the block can run it. Default: for each block what
  /// choose_schedule (lasnet/latency.h) predicts to be fastest on this machine. It predicts from the profile
  /// that `lasnet calibrate` left or, on the cpu backend, from the shipped one. make_executable takes a
  /// schedule per block.
  std::optional<BlockSchedule> schedule = std::nullopt;
};

/// Masks by block name, uint8 [N, H', W'] with one value per patch.
using MaskSet = std::map<std::string, ByteTensor>;

/// The order of a map's values: [N, C, H, W] as PyTorch has them, or [N, H, W, C].
enum class MapLayout { nchw, nhwc };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(MapLayout layout);
LASNET_EXPORT MapLayout parse_map_layout(const std::string& text);

/// Maps inside a network by name (FeatureSpec::name), float32.
using FeatureMaps = std::map<std::string, Tensor>;

/// What one run does and records.
struct RunOptions {
  bool dense = false;  ///< run the static network: maskers are skipped, every pixel is computed
  /// Replaces the masker's decisions in the named blocks. The masker is still computed.
  const MaskSet* force_masks = nullptr;
  /// A patch is active where its logit difference is at least the block's threshold. 0 is what networks are
  /// trained with, a higher one computes less. One value holds for all blocks; else there is one per block,
  /// in network order, and static blocks ignore theirs. Empty: 0 everywhere. -infinity selects every patch,
  /// infinity none. operating_point (lasnet/operating_point.h) gives those that meet a budget.
  std::vector<float> thresholds = {};
  /// Throw Error naming the first layer whose output is not finite (slower). Without it NaN and infinity pass
  /// through the network as arithmetic has it.
  bool check_finite = false;
  bool record_masks = true;  ///< keep masks and logit differences in the trace
  /// The trace's times are processor time of the calling thread instead of wall time. With one thread, that
  /// is what the run costs however busy the machine is.
  bool thread_time = false;
  /// Time every block. The cuda backend then launches kernel by kernel with events between blocks, which is
  /// slower than its graph. The other backends always time blocks.
  bool time_blocks = false;
  /// Time every operation of every block (BlockTrace::operations). Of the cpu backend; the others leave them
  /// out.
  bool time_operations = false;
  /// Throw Error naming the first NaN or infinity of the input: quick, and part of check_finite.
  bool check_input = false;
  /// Asked before every block by the thread that called run(). The cuda backend asks once, before the network
  /// starts. If it returns true, the run ends with an Error. An exception that it throws passes through. The
  /// session can be used again.
  const std::function<bool()>* stop = nullptr;
  /// Maps to return in Result::features, by the names of feature_specs (lasnet/model.h). A map is copied out
  /// at the end of its stage, because the next blocks overwrite it. It is a map of the masked dense network,
  /// its inactive pixels included.
  std::vector<std::string> features = {};
  MapLayout feature_layout = MapLayout::nchw;  ///< of these maps
};

/// How long one operation of a block took.
struct OperationTime {
  /// "masker", "lists", "conv1", ..., as latency predictions name it.
  std::string name;
  double seconds = 0;  ///< 0 where it ran in one loop with another, which then has its time
};

/// What one block computed, over the whole batch.
struct BlockTrace {
  std::string name;     ///< of the block, e.g. "layer1.0"
  int granularity = 0;  ///< S, or kWholeMapGranularity; 0: a static block
  int64_t height = 0,   ///< of the output map
      width = 0;        ///< of the output map
  ByteTensor mask;      ///< [N, H', W'] if recorded; all ones in a dense run
  /// logit0 - logit1 per patch [N, rows, cols] if recorded. A patch is active if it is at least the block's
  /// threshold, which is 0 unless RunOptions::thresholds says otherwise.
  Tensor logit_difference;
  std::vector<double> rates;  ///< r of each image
  double rate = 1;            ///< mean of `rates`
  double dilated_rate = 1;    ///< mean share of active pixels of D
  double macs = 0;            ///< mean multiply-accumulates per image, masker included
  int64_t static_macs = 0;    ///< of the static block
  double seconds = 0;         ///< wall time of the block for the batch; cuda: 0 unless time_blocks
  /// The part of `seconds` for masker, decisions, dilation and lists. With MaskerSchedule::with_conv1 the cpu
  /// backend counts convs[0] too, the cuda backend only what the convolutions beside them do not hide.
  double masking_seconds = 0;
  std::vector<OperationTime> operations;  ///< in the order in which they ran; only with time_operations
};

/// What a run computed.
struct Trace {
  std::vector<BlockTrace> blocks;  ///< in network order
  double macs = 0;                 ///< whole network, mean per image
  int64_t static_macs = 0;         ///< whole static network, per image
  /// Wall time of the whole run for the batch, stem, maskers and head included. cuda: time on the device,
  /// from the input in its memory to the logits there.
  double seconds = 0;
  std::vector<double> image_macs;  ///< whole network, of each image

  /// MACs over those of the static network.
  double macs_ratio() const { return macs / static_cast<double>(static_macs); }
};

/// What Session::run returns.
struct Result {
  Tensor logits;         ///< [N, classes]; [N, 0] of a backbone
  Trace trace;           ///< what was computed for them
  FeatureMaps features;  ///< those that RunOptions::features names
};

/// A model ready to run: BatchNorm folded, weights packed for one backend and instruction set. Immutable; any
/// number of sessions share it.
class Executable;

/// Compiles `model` for a backend. `isa` is for the cpu backend; default: the fastest available. `precision`
/// as of SessionOptions. `plan` is for cpu and cuda; default: as SessionOptions::schedule. int8 has one
/// schedule: its plan may choose no more than whole_map_above. Throws Error on weights that do not fit the
/// spec and on a plan with another number of blocks. It also does on a backend, instruction set or precision
/// that cannot run here, and on int8 for a model without a Quantization.
LASNET_EXPORT std::shared_ptr<const Executable> make_executable(
    const Model& model, Backend backend = Backend::cpu, std::optional<Isa> isa = std::nullopt,
    const std::optional<NetworkSchedule>& plan = std::nullopt, Precision precision = Precision::fp32);

/// Runs a network. Used by one thread at a time; several sessions run concurrently, also over one Executable.
/// Reusable for any sequence of batch and input sizes; a repeated size allocates no activation memory.
class LASNET_EXPORT Session {
 public:
  /// Throws Error on options the machine cannot serve or weights that do not fit the spec.
  Session(const Model& model, const SessionOptions& options = {});
  /// `threads`: 1 to 1024, the one that calls run() included.
  Session(std::shared_ptr<const Executable> executable, int threads);
  /// Runs on the threads of `executor`.
  Session(std::shared_ptr<const Executable> executable, std::shared_ptr<Executor> executor);
  /// Takes over another session's memory and threads; that one may only be destroyed or assigned to.
  Session(Session&&) noexcept;
  /// As the move constructor.
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Runs `input`: float32 [N, 3, H, W], preprocessed, H and W >= 32, N >= 1. It is a Tensor, or
  /// {shape, values} over memory of the caller, which is only read during the call. Throws Error on a wrong
  /// shape, and on forced masks that name unknown blocks, have a wrong shape or vary within a patch. It also
  /// does on thresholds that are NaN or of a wrong number, on features that the network does not have, and
  /// where the memory does not hold their maps.
  ///
  /// Logits are the same bit for bit for any number of threads, any executor and any split of a batch.
  /// Instruction sets differ by rounding, but not with Precision::int8. Subnormal floats count as zero
  /// inside. The calling thread's own setting is restored.
  Result run(const TensorView& input, const RunOptions& options = {});

  /// The same into `result`, whose memory is used again. On the cpu backend nothing is allocated if `result`
  /// is of an earlier run of the same sizes and no masks are forced.
  void run(const TensorView& input, const RunOptions& options, Result& result);

  /// Throws Error if a run of so many images of this size takes more memory than there is, its input
  /// included. To be asked before inputs are made.
  void check_memory(MapSize size, int64_t batch) const;

  /// What it runs; other sessions may share it.
  std::shared_ptr<const Executable> executable() const;
  /// The executable's.
  Backend backend() const;
  /// The instruction set whose kernels run (scalar for the reference and cuda backends).
  Isa isa() const;
  /// The executable's.
  Precision precision() const;
  /// Its own number of threads, or its executor's.
  int threads() const;
  /// Of the network that it runs.
  const ModelSpec& spec() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lasnet
