#include "partition/cut_program.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "exact/engine.h"

namespace opweave::partition {
namespace {

using exact::CpModel;

/// Times are counted in grains, of which the value to be beaten has about a trillion, and written with two digits to
/// this base: CP-SAT 9.15 gives wrong answers to programs with coefficients of 10^10 and more.
constexpr std::int64_t kBase = 1'000'000;
constexpr double kGrains = 1e12;
/// Parts that a capacity is divided into.
constexpr double kByteParts = 1e6;
/// Literals of vertices and nets beyond which the program is not built.
constexpr std::size_t kMostLiterals = 200'000;
/// Deterministic seconds of the solver that count as one move of the search.
constexpr double kSecondsPerMove = 1e-6;

/// Is there an assignment whose largest load is below `limit`, by more than rounding? The objective is the first digit
/// of what its load is allowed to be.
///
/// x(u, d): vertex u is on d. cut(n, d): net n has pins on d and elsewhere.
class CutProgram {
 public:
  CutProgram(const CutModel& model, double limit, double bound)
      : model_(model), limit_(limit), scale_(kGrains / limit), program_(std::make_shared<CpModel>()) {
    // Every term may have lost a grain, so that ties with the limit look better by as many.
    const auto terms = static_cast<std::int64_t>(model.vertex_count() + model.nets.size());
    const std::int64_t most = static_cast<std::int64_t>(limit * scale_) - terms - 1;
    second_digit_ = most % kBase;
    const auto least = static_cast<std::int64_t>(bound * scale_ * (1 - 1e-9)) - terms - kBase;
    first_digit_ = program_->add_variable(std::clamp<std::int64_t>(least / kBase, 0, most / kBase), most / kBase);
    program_->minimise({{first_digit_, 1}});
    for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
      auto& on = on_.emplace_back();
      for (std::size_t device = 0; device < model.device_count(); ++device) on.push_back(program_->add_literal());
      program_->add_choice(CpModel::Choice::Kind::kExactlyOne, on);
    }
    for (std::size_t device = 0; device < model.device_count(); ++device) {
      add_load(device);
      add_memory(device);
    }
  }

  [[nodiscard]] std::shared_ptr<const CpModel> program() const { return program_; }

  [[nodiscard]] Assignment assignment(const std::vector<std::int64_t>& values) const {
    Assignment result(on_.size());
    for (Vertex vertex = 0; vertex < on_.size(); ++vertex) {
      for (std::uint32_t device = 0; device < on_[vertex].size(); ++device) {
        if (values[static_cast<std::size_t>(on_[vertex][device].variable())] != 0) result[vertex] = device;
      }
    }
    return result;
  }

  /// What no load is below, if the first digit is at least this.
  [[nodiscard]] double load(std::int64_t first_digit) const {
    return static_cast<double>((first_digit - 1) * kBase + second_digit_ + 1) / scale_;
  }

 private:
  struct Sum {
    std::vector<CpModel::Term> first;
    std::vector<CpModel::Term> second;
    std::int64_t most_second = 0;
  };

  void forbid(CpModel::Literal literal) { program_->add_linear({{literal.variable(), 1}}, 0, 0); }

  /// Times that are too long alone are not allowed at all.
  void add(Sum& sum, CpModel::Literal literal, double time) {
    if (!(time < limit_)) return forbid(literal);
    const auto grains = static_cast<std::int64_t>(time * scale_);
    if (grains / kBase > 0) sum.first.push_back({literal.variable(), grains / kBase});
    if (grains % kBase > 0) sum.second.push_back({literal.variable(), grains % kBase});
    sum.most_second += grains % kBase;
  }

  void add_load(std::size_t device) {
    const DeviceKind& kind = model_.kind_of(device);
    Sum sum;
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) add(sum, on_[vertex][device], kind.work[vertex]);
    if (kind.pays_transfers) {
      for (const Net& net : model_.nets) {
        const CpModel::Literal cut = program_->add_literal();
        // Once around the pins: where some are in and some are out, one that is in is followed by one that is out.
        for (std::size_t i = 0; i < net.pins.size(); ++i) {
          const Vertex next = net.pins[(i + 1) % net.pins.size()];
          program_->add_choice(CpModel::Choice::Kind::kAtLeastOne,
                               {on_[net.pins[i]][device].negated(), on_[next][device], cut});
        }
        add(sum, cut, net.cost);
      }
    }
    // Second digits may exceed the allowed one by what they carry over to the first.
    const CpModel::Variable carry = program_->add_variable(0, sum.most_second / kBase + 1);
    sum.second.push_back({carry, -kBase});
    sum.first.push_back({carry, 1});
    sum.first.push_back({first_digit_, -1});
    constexpr std::int64_t kNone = -(std::int64_t{1} << 40);
    program_->add_linear(std::move(sum.second), kNone, second_digit_);
    program_->add_linear(std::move(sum.first), kNone, 0);
  }

  /// Bytes are rounded down: what is excluded has no room.
  void add_memory(std::size_t device) {
    const double capacity = model_.kind_of(device).capacity;
    double total = 0;
    for (const double bytes : model_.bytes) total += bytes;
    if (total <= capacity) return;
    const double scale = kByteParts / std::max(capacity, 1.0);
    std::vector<CpModel::Term> held;
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
      const double parts = std::min(model_.bytes[vertex] * scale, 2 * kByteParts);
      if (parts >= 1) held.push_back({on_[vertex][device].variable(), static_cast<std::int64_t>(parts)});
    }
    program_->add_linear(std::move(held), 0, static_cast<std::int64_t>(kByteParts));
  }

  const CutModel& model_;
  const double limit_;
  const double scale_;  ///< grains per unit of time
  std::shared_ptr<CpModel> program_;
  CpModel::Variable first_digit_ = 0;  ///< of the allowed load
  std::int64_t second_digit_ = 0;
  std::vector<std::vector<CpModel::Literal>> on_;  ///< by vertex, then device
};

}  // namespace

double solve_cut_program(const CutModel& model, const Assignment& start, const Budget& budget,
                         const CutProgramOptions& options) {
  double best = largest_load(model, start);
  double bound = options.bound;
  const auto engine = exact::cp_sat_engine();
  const std::size_t literals = (model.vertex_count() + model.nets.size()) * model.device_count();
  if (literals > kMostLiterals || !engine->unavailable_because().empty()) return bound;
  exact::EngineLimits limits;
  limits.seed = options.seed;
  limits.takes_turns = true;
  if (budget.work_limit()) limits.work = kSecondsPerMove * static_cast<double>(*budget.work_limit());
  // Each program asks for something better than the best of the one before; the last one says that there is nothing.
  while (bound < best && !budget.expired()) {
    const CutProgram program(model, best, bound);
    const auto take = [&](const std::vector<std::int64_t>& values, std::int64_t) {
      const Assignment found = program.assignment(values);
      const double value = largest_load(model, found);
      if (value >= best) return;
      best = value;
      if (options.on_improvement) options.on_improvement(found);
    };
    const double before = best;
    limits.seconds = budget.remaining();
    const auto claim = exact::run<CpModel>(
        engine, program.program(), limits, [&] { return budget.expired(); }, take);
    using Status = exact::EngineStatus;
    if (claim.status == Status::kInfeasible) return before;
    if (claim.status != Status::kOptimal && claim.status != Status::kFeasible && claim.status != Status::kUnknown)
      break;
    if (claim.has_solution()) take(claim.values, claim.objective);
    if (claim.bound) bound = std::max(bound, std::min(best, program.load(*claim.bound)));
    if (best >= before) break;
  }
  return bound;
}

}  // namespace opweave::partition
