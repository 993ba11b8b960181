#include "periodic/kernel_program.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace opweave::periodic {
namespace {

using exact::CpModel;

/// Programs with more intervals are not built.
constexpr std::size_t kMostIntervals = 20'000;

/// start = phase + period x lap for every node, in units of the greatest common divisor of all times: given orders
/// and laps, the least times are multiples of it.
class Program {
 public:
  Program(const std::shared_ptr<const LoopBody>& body, Time period, std::uint32_t laps)
      : body_(body), network_(body->network()), laps_(laps) {
    unit_time_ = period;
    for (const Node node : body->nodes()) unit_time_ = std::gcd(unit_time_, network_.duration[node]);
    period_ = period / unit_time_;
    last_ = period_ * laps;
    add_nodes();
    add_resources();
    add_memory();
  }

  [[nodiscard]] CpModel& model() { return model_; }

  void suggest(const Kernel& kernel) {
    Time first = std::numeric_limits<Time>::max();
    for (const Node node : body_->nodes()) first = std::min(first, kernel.lap(node));
    for (const Node node : body_->nodes()) {
      const Time lap = kernel.lap(node) - first;
      const Time phase = kernel.phase(node) / unit_time_;
      if (lap >= laps_ || phase >= period_) continue;
      model_.hint(lap_[node], lap);
      model_.hint(phase_[node], phase);
      model_.hint(start_[node], phase + lap * period_);
    }
  }

  [[nodiscard]] Kernel kernel(std::span<const std::int64_t> values) const {
    Kernel result{body_, period_ * unit_time_, std::vector<Time>(network_.node_count, 0)};
    for (const Node node : body_->nodes()) {
      result.starts[node] = values[static_cast<std::size_t>(start_[node])] * unit_time_;
    }
    return result;
  }

 private:
  [[nodiscard]] Time duration(Node node) const { return network_.duration[node] / unit_time_; }

  void add_nodes() {
    phase_.resize(network_.node_count);
    lap_.resize(network_.node_count);
    start_.resize(network_.node_count);
    for (const Node node : body_->nodes()) {
      phase_[node] = model_.add_variable(0, period_ - 1);
      lap_[node] = model_.add_variable(0, laps_ - 1);
      start_[node] = model_.add_variable(0, last_ - 1);
      model_.add_linear({{start_[node], 1}, {phase_[node], -1}, {lap_[node], -period_}}, 0, 0);
      for (const Node before : network_.predecessors[node]) {
        model_.add_order({start_[before], 0}, {start_[node], 0}, duration(before));
      }
    }
  }

  /// On the circle: every node a second time, a period later.
  void add_resources() {
    for (std::size_t resource = 0; resource < network_.resource_count; ++resource) {
      std::vector<CpModel::Interval> intervals;
      for (const Node node : body_->on_resource(resource)) {
        const Time length = duration(node);
        if (length == 0) continue;
        for (const Time later : {Time{0}, period_}) {
          intervals.push_back(model_.add_interval({phase_[node], later}, {std::nullopt, length},
                                                  {phase_[node], later + length}, std::nullopt));
        }
      }
      if (intervals.size() > 2) model_.add_no_overlap(std::move(intervals));
    }
  }

  /// Every lifetime as often as laps may overlap, each a period before the other: in the first period all are seen.
  void add_memory() {
    std::vector<std::vector<CpModel::Interval>> intervals(network_.pools.size());
    std::vector<std::vector<std::int64_t>> demands(network_.pools.size());
    const auto repeat = [&](std::uint32_t pool, std::int64_t bytes, CpModel::Variable start, CpModel::Affine size,
                            CpModel::Affine end) {
      for (Time copy = 0; copy <= laps_; ++copy) {
        const Time earlier = -copy * period_;
        CpModel::Affine shifted = end;
        shifted.offset += earlier;
        intervals[pool].push_back(model_.add_interval({start, earlier}, size, shifted, std::nullopt));
        demands[pool].push_back(bytes);
      }
    };
    const Time latest = last_ + period_;
    for (std::uint32_t h = 0; h < network_.holdings.size(); ++h) {
      const order_search::Holding& holding = network_.holdings[h];
      CpModel::Variable begin{};
      if (holding.maker != kNone) {
        begin = start_[holding.maker];
      } else {
        begin = model_.add_variable(0, last_ - 1);
      }
      const CpModel::Variable end = model_.add_variable(0, latest);
      const CpModel::Variable size = model_.add_variable(0, latest);
      if (holding.maker != kNone) model_.add_order({begin, 0}, {end, 0}, duration(holding.maker));
      for (const Node user : network_.users[h]) {
        if (holding.maker == kNone) model_.add_order({begin, 0}, {start_[user], 0});
        model_.add_order({start_[user], 0}, {end, 0}, duration(user));
      }
      repeat(holding.pool, holding.bytes, begin, {size, 0}, {end, 0});
    }
    for (const Node node : body_->nodes()) {
      for (const order_search::Claim& claim : network_.own_release[node]) {
        const Time length = duration(node);
        if (length > 0) repeat(claim.pool, claim.bytes, start_[node], {std::nullopt, length}, {start_[node], length});
      }
    }
    for (std::size_t p = 0; p < intervals.size(); ++p) {
      if (intervals[p].empty()) continue;
      std::int64_t unit = network_.pools[p].capacity;
      for (const std::int64_t bytes : demands[p]) unit = std::gcd(unit, bytes);
      unit = std::max<std::int64_t>(1, unit);
      for (std::int64_t& bytes : demands[p]) bytes /= unit;
      model_.add_cumulative(std::move(intervals[p]), std::move(demands[p]), network_.pools[p].capacity / unit);
    }
  }

  std::shared_ptr<const LoopBody> body_;
  const Network& network_;
  const Time laps_;
  Time unit_time_ = 1;
  Time period_ = 1;
  Time last_ = 1;
  CpModel model_;
  std::vector<CpModel::Variable> phase_;
  std::vector<CpModel::Variable> lap_;
  std::vector<CpModel::Variable> start_;
};

}  // namespace

std::size_t kernel_program_size(const LoopBody& body, std::uint32_t laps) {
  const Network& network = body.network();
  std::size_t lifetimes = network.holdings.size();
  std::size_t runs = 0;
  for (const Node node : body.nodes()) {
    runs += network.resources[node].size();
    lifetimes += network.own_release[node].size();
  }
  return 2 * runs + lifetimes * (laps + 1);
}

KernelAnswer solve_kernel(const std::shared_ptr<const LoopBody>& body, Time period, const Kernel* hint,
                          const Budget& budget, const KernelProgramOptions& options) {
  KernelAnswer answer;
  using Status = KernelAnswer::Status;
  if (kernel_program_size(*body, options.laps) > kMostIntervals) {
    answer.status = Status::kTooLarge;
    return answer;
  }
  Program program(body, period, options.laps);
  if (hint != nullptr) program.suggest(*hint);
  const auto model = std::make_shared<const CpModel>(program.model());
  exact::EngineLimits limits;
  limits.seconds = budget.remaining();
  limits.seed = options.seed;
  limits.work = options.work;
  limits.deterministic = options.work.has_value();
  const auto should_stop = [&] { return budget.expired() || (options.should_stop && options.should_stop()); };
  const exact::Claim<CpModel> claim =
      exact::run<CpModel>(options.engine, model, limits, should_stop, exact::OnImprovement<CpModel>{});
  if (!claim.values.empty()) {
    Kernel kernel = program.kernel(claim.values);
    if (is_valid(kernel)) {
      answer.status = Status::kFound;
      answer.kernel = std::move(kernel);
      return answer;
    }
  }
  switch (claim.status) {
    case exact::EngineStatus::kInfeasible:
      answer.status = Status::kImpossible;
      break;
    case exact::EngineStatus::kUnknown:
      answer.status = Status::kUnknown;
      break;
    default:
      answer.status = Status::kUnavailable;
  }
  return answer;
}

}  // namespace opweave::periodic
