#include "measuring.h"

#include <algorithm>
#include <numeric>

namespace lasnet::cli {

Repetitions repetitions(Effort effort) {
  Repetitions usual;
  switch (effort) {
    case Effort::quick:
      return {.photographs = 5,
              .photograph = 5,
              .bench = 8,
              .large_batch = 3,
              .batch = 4,
              .density = 3,
              .study = 2,
              .granularity = 5,
              .fusion = 8,
              .blocks = 8,
              .knob = 5,
              .labelled = 100};
    case Effort::usual:
      return usual;
    case Effort::full:
      return {.photographs = 6,
              .photograph = 21,
              .bench = 60,
              .large_batch = 20,
              .batch = 8,
              .density = 16,
              .study = 16,
              .granularity = 40,
              .fusion = 60,
              .blocks = 60,
              .knob = 40,
              .labelled = 2000};
  }
  return usual;
}

Json quartiles_json(const std::vector<double>& values) {
  const Quartiles q = quartiles(values);
  return {{"min", q.min}, {"q1", q.q1}, {"median", q.median}, {"q3", q.q3}};
}

std::vector<Turns> run_in_turn(const std::vector<Contender>& contenders, const std::vector<Tensor>& inputs,
                               int repeat, const Told& told,
                               const std::function<void(size_t contender, const Result&)>& ran) {
  std::vector<Turns> turns(contenders.size());
  std::vector<size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), size_t{0});
  Result result;
  for (int i = 0; i < repeat; ++i) {
    const Tensor& input = inputs[static_cast<size_t>(i) % inputs.size()];
    for (const size_t c : order) {
      contenders[c].session->run(input, contenders[c].options, result);
      contenders[c].session->run(input, contenders[c].options, result);
      turns[c].ms.push_back(1e3 * result.trace.seconds);
      turns[c].macs_ratio.push_back(result.trace.macs_ratio());
      turns[c].last = result.trace;
      if (ran) ran(c, result);
    }
    std::rotate(order.begin(), order.begin() + 1, order.end());
    if (told) told(static_cast<double>(i + 1) / repeat, contenders.front().name);
  }
  return turns;
}

}  // namespace lasnet::cli
