// Sessions, and what their runs return.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <mutex>

#include "arguments.h"
#include "arrays.h"
#include "bindings.h"
#include "lasnet/error.h"

namespace lasnet::python {
namespace {

constexpr const char* kExpectedInput = "float32 [N, 3, H, W]";

/// Throws Python's exception if a signal (Ctrl-C) has one waiting. Asks rarely: it takes the GIL.
class SignalCheck {
 public:
  bool operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return false;
    next_ = now + kInterval;
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    return false;
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{20};
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kInterval;
};

/// Of four dimensions in the wrong order, which one it is.
std::string order_hint(const AnyArray& x) {
  if (x.ndim() == 4 && x.shape(3) == 3) return "; this is NHWC: give x.transpose(0, 3, 1, 2)";
  if (x.ndim() == 3) return "; one image needs a batch dimension: give x[None]";
  return "";
}

/// Throws Error on a shape that no network takes, before anything of its size is copied.
AnyArray to_input(nb::handle object) {
  AnyArray x = to_array(object, nb::dtype<float>(), "x", kExpectedInput);
  constexpr size_t kMinSide = 32;
  const bool fits =
      x.ndim() == 4 && x.shape(0) >= 1 && x.shape(1) == 3 && x.shape(2) >= kMinSide && x.shape(3) >= kMinSide;
  if (!fits) {
    throw Error("x: shape " + shape_text(x) + "; expected [N, 3, H, W] with N >= 1 and H, W >= 32" +
                order_hint(x));
  }
  return x;
}

MaskSet to_masks(const nb::dict& given) {
  MaskSet masks;
  for (const auto& [name, mask] : given) {
    const auto block = nb::cast<std::string>(name);
    const std::string argument = "force_masks['" + block + "']";
    const ContiguousArray<uint8_t> values(
        to_array(mask, nb::dtype<uint8_t>(), argument, "uint8 [N, H', W']"));
    ByteTensor copy(values.shape());
    std::copy_n(values.data(), copy.size(), copy.data.data());
    masks.emplace(block, std::move(copy));
  }
  return masks;
}

/// What a run returned. Arrays that Python gets of it keep it alive.
struct RunResult {
  Result result;
  int64_t height = 0, width = 0;  ///< of the input
};
using Self = nb::pointer_and_handle<RunResult>;

nb::object logits(Self self) {
  Tensor& values = self.p->result.logits;
  return numpy_view(values.data.data(), values.shape, self.h);
}

/// Arrays by the names of the maps.
nb::dict features(Self self) {
  nb::dict maps;
  for (auto& [name, map] : self.p->result.features)
    maps[nb::str(name.c_str())] = numpy_view(map.data.data(), map.shape, self.h);
  return maps;
}

template <typename T>
nb::object recorded(Array<T>& values, nb::handle owner) {
  if (values.data.empty()) return nb::none();
  return numpy_view(values.data.data(), values.shape, owner);
}

nb::object vector_view(std::vector<double>& values, nb::handle owner) {
  return numpy_view(values.data(), {static_cast<int64_t>(values.size())}, owner);
}

/// The fields of lasnet.BlockTrace.
nb::dict describe(BlockTrace& block, nb::handle owner) {
  nb::dict fields;
  fields["name"] = block.name;
  fields["granularity"] = to_python_granularity(block.granularity);
  fields["height"] = block.height;
  fields["width"] = block.width;
  fields["mask"] = recorded(block.mask, owner);
  fields["logit_difference"] = recorded(block.logit_difference, owner);
  fields["rates"] = vector_view(block.rates, owner);
  fields["rate"] = block.rate;
  fields["dilated_rate"] = block.dilated_rate;
  fields["macs"] = block.macs;
  fields["static_macs"] = block.static_macs;
  fields["seconds"] = block.seconds;
  fields["masking_seconds"] = block.masking_seconds;
  return fields;
}

/// The fields of lasnet.Trace that a run gives, with dicts for blocks.
nb::dict trace(Self self) {
  Trace& trace = self.p->result.trace;
  nb::list blocks;
  for (BlockTrace& block : trace.blocks) blocks.append(describe(block, self.h));
  nb::dict fields;
  fields["blocks"] = blocks;
  fields["macs"] = trace.macs;
  fields["static_macs"] = trace.static_macs;
  fields["seconds"] = trace.seconds;
  fields["image_macs"] = vector_view(trace.image_macs, self.h);
  fields["input_size"] = std::tuple(self.p->height, self.p->width);
  return fields;
}

/// A session that any number of threads may use: runs wait for each other.
class SessionHandle {
 public:
  SessionHandle(ModelHandle& model, const EngineOptions& options, int threads)
      : session_(std::in_place, model.compile(options), threads), facts_(*session_) {}

  RunResult run(nb::handle object, bool dense, const std::optional<nb::dict>& force_masks,
                const std::vector<float>& thresholds, bool check_finite, bool record_masks,
                std::vector<std::string> features, const std::string& feature_layout) {
    const AnyArray array = to_input(object);
    const MaskSet masks = force_masks ? to_masks(*force_masks) : MaskSet{};
    const std::function<bool()> stop = SignalCheck();
    const RunOptions options{.dense = dense,
                             .force_masks = force_masks ? &masks : nullptr,
                             .thresholds = thresholds,
                             .check_finite = check_finite,
                             .record_masks = record_masks,
                             .check_input = true,
                             .stop = &stop,
                             .features = std::move(features),
                             .feature_layout = parse_map_layout(feature_layout)};
    const nb::gil_scoped_release released;
    const std::lock_guard lock(mutex_);
    if (!session_) throw Error("session: it is closed; make a new one");
    check_memory(array);
    const ContiguousArray<float> x(array);  // the array outlives it, and with it the GIL's absence
    return {run_named(x.view(), options), x.view().shape[2], x.view().shape[3]};
  }

  void close() {
    const nb::gil_scoped_release released;
    const std::lock_guard lock(mutex_);
    session_.reset();
  }

  nb::dict describe() const {
    nb::dict facts;
    facts["backend"] = facts_.backend;
    facts["isa"] = facts_.isa;
    facts["precision"] = facts_.precision;
    facts["threads"] = facts_.threads;
    return facts;
  }

 private:
  /// With Python's name of the argument in messages.
  Result run_named(const TensorView& x, const RunOptions& options) {
    try {
      return session_->run(x, options);
    } catch (const Error& error) {
      const std::string message = error.what(), name = "input:";
      if (!message.starts_with(name)) throw;
      throw Error("x:" + message.substr(name.size()));
    }
  }

  using InputSize = std::array<size_t, 3>;  ///< images, height, width

  struct Facts {
    explicit Facts(const Session& session)
        : backend(to_string(session.backend())),
          isa(to_string(session.isa())),
          precision(to_string(session.precision())),
          threads(session.threads()) {}
    std::string backend, isa, precision;
    int threads;
  };

  /// Throws Error if a run of this size takes more memory than there is. The last sizes have their memory.
  void check_memory(const AnyArray& x) {
    constexpr size_t kRemembered = 4;
    const InputSize size{x.shape(0), x.shape(2), x.shape(3)};
    if (std::find(checked_.begin(), checked_.end(), size) != checked_.end()) return;
    session_->check_memory({static_cast<int64_t>(size[1]), static_cast<int64_t>(size[2])},
                           static_cast<int64_t>(size[0]));
    if (checked_.size() == kRemembered) checked_.erase(checked_.begin());
    checked_.push_back(size);
  }

  std::optional<Session> session_;  ///< nothing once it is closed
  Facts facts_;
  std::vector<InputSize> checked_;
  std::mutex mutex_;
};

std::shared_ptr<SessionHandle> make_session(ModelHandle& model, const std::string& backend,
                                            const std::optional<std::string>& isa,
                                            const std::string& precision,
                                            const std::optional<std::string>& schedule, int threads) {
  const EngineOptions options{backend, isa, precision, schedule};
  const nb::gil_scoped_release released;
  return std::make_shared<SessionHandle>(model, options, threads);
}

/// Where run() reads `x`, and whether that is a copy.
std::tuple<uintptr_t, bool> input_address(nb::handle object) {
  const ContiguousArray<float> x(to_input(object));
  return {reinterpret_cast<uintptr_t>(x.data()), x.is_copy()};
}

}  // namespace

void bind_session(nb::module_& module) {
  nb::class_<RunResult>(module, "RunResult")
      .def("logits", &logits)
      .def("features", &features)
      .def("trace", &trace);
  nb::class_<SessionHandle>(module, "Session")
      .def("run", &SessionHandle::run, nb::arg("x").none(), nb::arg("dense"), nb::arg("force_masks").none(),
           nb::arg("thresholds"), nb::arg("check_finite"), nb::arg("record_masks"), nb::arg("features"),
           nb::arg("feature_layout"))
      .def("close", &SessionHandle::close)
      .def("describe", &SessionHandle::describe);
  module.def("session", &make_session, nb::arg("model"), nb::arg("backend"), nb::arg("isa").none(),
             nb::arg("precision"), nb::arg("schedule").none(), nb::arg("threads"));
  module.def("default_threads", &default_threads);
  module.def("input_address", &input_address);
}

}  // namespace lasnet::python
