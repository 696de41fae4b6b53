#include "train/world.h"

#include <nlohmann/json.hpp>

#include "train/record.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

torch::Tensor bytes_of(const std::string& text) {
  torch::Tensor bytes = torch::empty({static_cast<int64_t>(text.size())}, torch::kUInt8);
  std::ranges::copy(text, bytes.data_ptr<uint8_t>());
  return bytes;
}

std::string text_of(const torch::Tensor& bytes, int64_t size) {
  const uint8_t* begin = bytes.data_ptr<uint8_t>();
  return {begin, begin + size};
}

}  // namespace

World::World(const Processes& processes) : processes_(processes) {
  if (processes.size > 1) group_ = join_processes(processes);
}

void World::sum(torch::Tensor& values) {
  if (!group_) return;
  const torch::Tensor here = values.to(torch::kCPU);  // a GPU's values are copied, others are these very ones
  group_->begin_sum(here)->wait();
  if (!values.is_cpu()) values.copy_(here);
}

double World::sum(double value) {
  torch::Tensor values = torch::full({1}, value, torch::kFloat64);
  sum(values);
  return values.item<double>();
}

std::unique_ptr<ProcessGroup::Work> World::begin_sum(const torch::Tensor& values) {
  return group_ ? group_->begin_sum(values) : nullptr;
}

torch::Tensor World::batch_mean(const torch::Tensor& mean_of_share, double weight) {
  const torch::Tensor part = mean_of_share * weight;
  torch::Tensor whole = part.detach().clone();
  sum(whole);
  // Zeros in a world of one, so that the value stays exactly its own.
  return part + (whole - part.detach());
}

torch::Tensor World::gather_rows(const torch::Tensor& rows, int64_t first, int64_t total) {
  if (size() == 1) return rows;
  std::vector<int64_t> shape = rows.sizes().vec();
  const int64_t count = std::exchange(shape[0], total);
  torch::Tensor all = torch::zeros(shape, rows.options());
  all.narrow(0, first, count).copy_(rows);
  sum(all);
  return all;
}

std::vector<std::string> World::gather(const std::string& text) {
  torch::Tensor sizes = torch::zeros({size()}, torch::kInt64);
  sizes[rank()] = static_cast<int64_t>(text.size());
  sum(sizes);
  torch::Tensor bytes =
      torch::zeros({size(), std::max<int64_t>(sizes.max().item<int64_t>(), 1)}, torch::kUInt8);
  bytes[rank()].narrow(0, 0, static_cast<int64_t>(text.size())).copy_(bytes_of(text));
  sum(bytes);
  std::vector<std::string> texts;
  for (int64_t i = 0; i < size(); ++i) texts.push_back(text_of(bytes[i], sizes[i].item<int64_t>()));
  return texts;
}

void World::broadcast(std::vector<torch::Tensor> tensors) {
  if (!group_ || tensors.empty()) return;
  const torch::NoGradGuard no_gradient;
  std::vector<torch::Tensor> flat;
  for (const torch::Tensor& tensor : tensors) flat.push_back(tensor.reshape({-1}).to(torch::kCPU));
  torch::Tensor values = torch::cat(flat);
  if (values.numel() == 0) return;
  group_->begin_broadcast(values)->wait();
  if (leads()) return;
  int64_t at = 0;
  for (torch::Tensor& tensor : tensors) {
    tensor.copy_(values.narrow(0, at, tensor.numel()).view(tensor.sizes()));
    at += tensor.numel();
  }
}

std::string World::broadcast(const std::string& text) {
  if (!group_) return text;
  torch::Tensor size = torch::full({1}, static_cast<int64_t>(text.size()), torch::kInt64);
  broadcast(std::vector{size});
  torch::Tensor bytes = leads() ? bytes_of(text) : torch::empty({size.item<int64_t>()}, torch::kUInt8);
  broadcast(std::vector{bytes});
  return text_of(bytes, bytes.numel());
}

Weights World::broadcast(Weights weights) {
  if (!group_) return weights;
  nlohmann::json shapes = nlohmann::json::object();
  for (const auto& [name, tensor] : weights) shapes[name] = tensor.shape;
  shapes = nlohmann::json::parse(broadcast(to_text(shapes)));
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, shape] : shapes.items())
    tensors.push_back(leads() ? to_torch(weights.at(name)) : torch::empty(shape.get<std::vector<int64_t>>()));
  broadcast(tensors);
  if (leads()) return weights;
  weights.clear();
  for (const auto& [name, shape] : shapes.items()) weights[name] = from_torch(tensors[weights.size()]);
  return weights;
}

void World::check() {
  if (group_) group_->check();
}

void World::abandon(const std::string& why) {
  if (group_) group_->abandon(why);
}

}  // namespace lasnet
