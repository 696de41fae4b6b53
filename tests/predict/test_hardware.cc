// Hardware profiles: shipped ones, round trips, and what is said of bad ones.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>

#include "backends/cuda/tile_costs.h"
#include "lasnet/hardware.h"
#include "predict/host_profile.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Hardware, PublishedProfilesHaveThePapersNumbers) {
  const GpuHardware v100 = gpu_of(load_hardware("v100")), nano = gpu_of(load_hardware("nano"));
  EXPECT_EQ(v100.processing_engines, 80);
  EXPECT_EQ(v100.fp32_lanes_per_engine, 64);
  EXPECT_EQ(v100.frequency_hz, 1.5e9);
  EXPECT_EQ(v100.bandwidth_bytes_per_s, 700e9);
  EXPECT_EQ(v100.batch, 128);
  EXPECT_EQ(nano.frequency_hz, 0.921e9);
  EXPECT_EQ(gpu_of(load_hardware("rtx3090")).onchip_bandwidth_factor, 1);
  for (const char* name : {"v100", "tx2", "nano", "rtx3090", "rtx3060", "h100", "cpu-avx2", "cpu-avx512",
                           "cpu-scalar", "cpu-neon", "cuda-h100"}) {
    EXPECT_THAT(hardware_names(), Contains(name));
  }
}

TEST(Hardware, EveryProfileSurvivesARoundTrip) {
  for (const std::string& name : hardware_names()) {
    const HardwareProfile profile = load_hardware(name);
    EXPECT_EQ(profile.name, name);
    const std::string toml = hardware_to_toml(profile);
    EXPECT_EQ(hardware_to_toml(parse_hardware(toml, "copy")), toml);
  }
}

TEST(Hardware, WhatIsNotMeasuredSaysSo) {
  const HardwareProfile generic = parse_hardware(hardware_to_toml(load_hardware("cpu-neon")), "copy");
  EXPECT_FALSE(cpu_of(generic).measured);
  EXPECT_TRUE(cpu_of(load_hardware("cpu-scalar")).measured);
  CpuHardware machine = cpu_of(generic);
  machine.processor = "another";
  EXPECT_THAT(hardware_mismatches(generic, machine), ElementsAre(HasSubstr("was not measured on any")));
  EXPECT_ERROR(
      parse_hardware(replaced(hardware_to_toml(generic), "measured = false", "measured = 0"), "copy"),
      HasSubstr("'cpu.measured' must be true or false"));
}

TEST(Hardware, FactsOfAnotherKindAreRefused) {
  EXPECT_ERROR(gpu_of(load_hardware("cpu-avx2")),
               AllOf(HasSubstr("cpu-avx2"), HasSubstr("describes a cpu"), HasSubstr("expected a gpu")));
  EXPECT_ERROR(HardwareProfile().kind(), HasSubstr("load_hardware"));
  EXPECT_EQ(load_hardware("v100").usual_batch(), 128);
  EXPECT_EQ(load_hardware("cuda-h100").usual_batch(), 1);
}

TEST(Hardware, AFileIsReadByItsPath) {
  TemporaryDir dir;
  write_text(dir / "mine.toml", replaced(hardware_to_toml(load_hardware("tx2")), "\"tx2\"", "\"mine\""));
  EXPECT_EQ(load_hardware(dir / "mine.toml").name, "mine");
}

TEST(Hardware, AnUnknownNameSuggestsTheNearest) {
  EXPECT_ERROR(load_hardware("v10"), AllOf(HasSubstr("'v10'"), HasSubstr("did you mean v100?")));
  EXPECT_ERROR(load_hardware("abacus"), HasSubstr("known: "));
}

TEST(Hardware, OfThisMachineIsTheCalibratedElseTheShippedOne) {
  const TemporaryDir cache;
  const char* old = std::getenv("XDG_CACHE_HOME");
  const std::string before = old == nullptr ? "" : old;
  setenv("XDG_CACHE_HOME", cache.path().c_str(), 1);
  const Isa isa = available_isas().back();
  HardwareProfile shipped = host_hardware();
  EXPECT_EQ(shipped.name, "cpu-" + to_string(isa));
  const std::string file = cached_profile_path(isa);
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  CpuHardware other = cpu_of(shipped);
  other.cores = 77;
  shipped.facts = std::make_shared<HardwareFacts>(other);
  write_text(file, hardware_to_toml(shipped));
  EXPECT_EQ(host_hardware().name, file);
  EXPECT_EQ(cpu_of(host_hardware()).cores, 77);
  write_text(file, "no profile");
  EXPECT_EQ(host_hardware().name, "cpu-" + to_string(isa));
  setenv("XDG_CACHE_HOME", before.c_str(), 1);
}

TEST(Hardware, BadProfilesNameTheKey) {
  const std::string good = hardware_to_toml(load_hardware("v100"));
  const auto parse = [](const std::string& toml) { parse_hardware(toml, "p.toml"); };
  EXPECT_ERROR(
      parse(replaced(good, "bandwidth_bytes_per_s = ", "bandwidth_bytes_per_s = -")),
      AllOf(HasSubstr("p.toml:"), HasSubstr("gpu.bandwidth_bytes_per_s"), HasSubstr("greater than 0")));
  EXPECT_ERROR(parse(replaced(good, "frequency_hz = ", "frequency_hz = 0.0 #")),
               HasSubstr("gpu.frequency_hz"));
  EXPECT_ERROR(parse(replaced(good, "frequency_hz = ", "frequency_hz = nan #")),
               HasSubstr("gpu.frequency_hz"));
  EXPECT_ERROR(parse(replaced(good, "launch_s", "lunch_s")), HasSubstr("gpu.launch_s"));
  EXPECT_ERROR(parse(good + "bach = 4\n"), AllOf(HasSubstr("gpu.bach"), HasSubstr("did you mean batch?")));
  EXPECT_ERROR(parse(replaced(good, "pipeline_depth = 4", "pipeline_depth = \"deep\"")),
               AllOf(HasSubstr("gpu.pipeline_depth"), HasSubstr("an integer")));
  EXPECT_ERROR(parse(replaced(good, "processing_engines = 80", "processing_engines = 0")),
               HasSubstr("gpu.processing_engines"));
  EXPECT_ERROR(parse(replaced(good, "kind = \"gpu\"", "kind = \"tpu\"")), HasSubstr("'kind' is 'tpu'"));
  EXPECT_ERROR(parse("name = "), HasSubstr("p.toml:1"));
  const std::string cpu = hardware_to_toml(load_hardware("cpu-avx2"));
  EXPECT_ERROR(parse(replaced(cpu, "tile_step = ", "tile_step = -")), HasSubstr("cpu.seconds_per.tile_step"));
  EXPECT_ERROR(parse(replaced(cpu, "isa = \"avx2\"", "isa = \"sse9\"")),
               AllOf(HasSubstr("sse9"), HasSubstr("'cpu.isa'")));
}

TEST(Hardware, Int8ProfilesNameTheirKernels) {
  HardwareProfile profile = load_hardware("cpu-avx2");
  const std::string fp32 = hardware_to_toml(profile);
  EXPECT_THAT(fp32, testing::Not(HasSubstr("int8")));
  CpuHardware cpu = cpu_of(profile);
  EXPECT_EQ(cpu.precision(), Precision::fp32);
  cpu.int8_kernels = "avx_vnni";
  profile.facts = std::make_shared<HardwareFacts>(cpu);
  const std::string int8 = hardware_to_toml(profile);
  EXPECT_EQ(cpu_of(parse_hardware(int8, "p.toml")).int8_kernels, "avx_vnni");
  EXPECT_EQ(cpu_of(parse_hardware(int8, "p.toml")).precision(), Precision::int8);
  EXPECT_ERROR(parse_hardware(replaced(int8, "\"avx_vnni\"", "\"amx\""), "p.toml"),
               AllOf(HasSubstr("'cpu.int8_kernels'"), HasSubstr("amx"), HasSubstr("avx512_vnni")));
}

TEST(Hardware, ShippedInt8ProfilesAreOfTheKernelsInTheirName) {
  for (const std::string& name : hardware_names()) {
    if (!name.starts_with("cpu")) continue;
    const HardwareProfile profile = load_hardware(name);
    const CpuHardware& cpu = cpu_of(profile);
    EXPECT_EQ(cpu_profile_name(cpu), name);
    EXPECT_EQ(name.starts_with("cpu-int8-"), cpu.precision() == Precision::int8) << name;
  }
}

TEST(Hardware, CudaProfilesHoldTheTilesThatThereAre) {
  const HardwareProfile profile = load_hardware("cuda-h100");
  EXPECT_EQ(profile.kind(), HardwareKind::cuda);
  const CudaHardware& cuda = cuda_of(profile);
  EXPECT_EQ(cuda.multiprocessors, 132);
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::fp16}) {
    for (size_t i = 0; i < kCudaTileShapes; ++i) {
      const auto shape = static_cast<CudaTileShape>(i);
      EXPECT_EQ((cuda.tiles.*tile_table(precision))[i] != CudaTileCost{}, has_cuda_tile(shape, precision))
          << to_string(precision) << " " << to_string(shape);
    }
  }
  EXPECT_EQ(cuda.tiles.half[static_cast<size_t>(CudaTileShape::hopper_wide)],
            (CudaTileCost{483, 7960, 11579, 519, 1730}));
  const HardwareProfile copy = parse_hardware(hardware_to_toml(profile), "copy");
  const CudaHardware& copied = cuda_of(copy);
  EXPECT_EQ(copied.device, cuda.device);
  EXPECT_EQ(copied.seconds_per, cuda.seconds_per);
  EXPECT_EQ(copied.l2_mb, cuda.l2_mb);
  EXPECT_EQ(copied.memory_factor, cuda.memory_factor);
  EXPECT_EQ(copied.tiles, cuda.tiles);
}

TEST(Hardware, BadCudaProfilesNameTheKey) {
  const std::string good = hardware_to_toml(load_hardware("cuda-h100"));
  const auto parse = [](const std::string& toml) { parse_hardware(toml, "p.toml"); };
  EXPECT_ERROR(
      parse(replaced(good, "multiprocessors = 132", "multiprocessors = 0")),
      AllOf(HasSubstr("p.toml:"), HasSubstr("cuda.multiprocessors"), HasSubstr("from 1 to 1048576")));
  EXPECT_ERROR(parse(replaced(good, "l2_mb = 25", "l2_mb = 0")), HasSubstr("cuda.l2_mb"));
  EXPECT_ERROR(parse(replaced(good, "memory_factor", "memory_facter")), HasSubstr("cuda.memory_factor"));
  EXPECT_ERROR(parse(replaced(good, "kernel = ", "kernel = -")), HasSubstr("cuda.seconds_per.kernel"));
  EXPECT_ERROR(parse(replaced(good, "list_kchunk", "list_chunk")),
               AllOf(HasSubstr("'cuda.seconds_per.list_kchunk' is missing"), HasSubstr("has 'list_chunk'")));
  EXPECT_ERROR(parse(replaced(good, "step_ns = 354.0", "step_ns = 0.0")),
               AllOf(HasSubstr("cuda.tiles.fp32.medium.step_ns"), HasSubstr("greater than 0")));
  EXPECT_ERROR(parse(replaced(good, "step_ns = 354.0, ", "")), HasSubstr("cuda.tiles.fp32.medium.step_ns"));
  EXPECT_ERROR(parse(replaced(good, "split = ", "splat = ")), HasSubstr("cuda.tiles.tf32.split"));
  EXPECT_ERROR(parse(replaced(good, "hopper_wide = ", "hopper_high = ")),
               HasSubstr("cuda.tiles.half.hopper_wide"));
  EXPECT_ERROR(parse(replaced(good, "medium = ", "wide = { step_ns = 1.0 }\nmedium = ")),
               HasSubstr("unknown key 'cuda.tiles.fp32.wide'"));
}

TEST(Hardware, AnotherMachinesProfileIsNoticed) {
  const HardwareProfile profile = load_hardware("cpu-avx2");
  const CpuHardware& cpu = cpu_of(profile);
  EXPECT_THAT(hardware_mismatches(profile, cpu), IsEmpty());
  CpuHardware other = cpu;
  other.processor = "Other";
  other.cores += 6;
  EXPECT_THAT(hardware_mismatches(profile, other), SizeIs(2));
  CpuHardware other_generation = cpu;
  other_generation.l2_kib /= 2;
  EXPECT_THAT(hardware_mismatches(profile, other_generation), ElementsAre(HasSubstr("second-level cache")));
  EXPECT_THAT(hardware_mismatches(profile, other)[0], AllOf(HasSubstr(cpu.processor), HasSubstr("Other")));
  EXPECT_THAT(hardware_mismatches(load_hardware("v100"), other), IsEmpty());
}

}  // namespace
}  // namespace lasnet::test
