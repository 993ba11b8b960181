#include "strategy/layout_program.h"

#include <algorithm>
#include <cmath>

#include "strategy/memory.h"
#include "strategy/step_end.h"

namespace opweave::strategy {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
/// Doubles that differ by less than this share are one: sums in another order.
constexpr double kRounding = 1e-11;
/// Limits on the longest stage are looked for as closely as this.
constexpr double kTolerance = 1e-9;
/// What is asked to be less is so by this share.
constexpr double kLess = 1e-10;
/// Limits on the longest stage that are tried first exceed the least conceivable by this share, and ever more.
constexpr double kFirstStep = 0.01;
constexpr double kStepGrowth = 4;
/// All layers and everything made again take at most so many times what the layers take.
constexpr double kMostAgain = 2;

LayerWeights operator-(const LayerWeights& a, const LayerWeights& b) {
  return {a.common - b.common, a.experts - b.experts};
}
LayerWeights operator+(const LayerWeights& a, const LayerWeights& b) {
  return {a.common + b.common, a.experts + b.experts};
}
LayerWeights operator*(double factor, const LayerWeights& a) { return {factor * a.common, factor * a.experts}; }

}  // namespace

LayoutProgram::LayoutProgram(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                             const CalibrationProfile& profile, const Strategy& mesh, RecomputeChoice choice,
                             std::optional<Recompute> held)
    : model_(model),
      machines_(machines),
      run_(run),
      profile_(profile),
      mesh_(mesh),
      choice_(choice),
      held_(held),
      busy_before_{0} {
  mesh_.layers_per_stage.clear();
  const Setting setting{model_, machines_, run_, mesh_, profile_};
  StageTime all;
  LayerWeights layers_weigh;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    layer_times_.push_back(layer_time(setting, model.layers[i]));
    const LayerTime& time = layer_times_.back();
    for (std::int64_t k = 0; k < model.layers[i].count; ++k) {
      run_of_.push_back(i);
      busy_before_.push_back(busy_before_.back() + time.forward.total() + time.backward.total());
    }
    const auto count = static_cast<double>(model.layers[i].count);
    all.time.backward += time.backward * count;
    layers_weigh = layers_weigh + count * layer_weights(setting, model.layers[i]);
  }
  head_ = head_time(setting);
  all.time.backward += head_.backward;
  weight_seconds_ = weight_gradient_seconds(all);
  if (mesh_.sharding == Sharding::kWeights) constant_ = sharded_weights_seconds(setting, layer_times_);
  // What the first and the last stage hold beside layers is what is left without them.
  const auto held_by = held_weights(setting);
  LayerWeights sum;
  std::vector<LayerWeights> beside = held_by;
  const auto stage_layers = stages(setting);
  for (std::size_t stage = 0; stage < held_by.size(); ++stage) {
    sum = sum + held_by[stage];
    for (const StageLayers& part : stage_layers[stage]) {
      beside[stage] = beside[stage] - part.count * layer_weights(setting, model.layers[part.run]);
    }
  }
  first_ = beside.front();
  if (mesh_.pipeline > 1) last_ = beside.back();
  // Some stage holds its share of all weights at least, be they of one kind or the other.
  const double share = (sum.common + sum.experts) / mesh_.pipeline;
  least_end_ = std::min(end_seconds(setting, {share, 0}), end_seconds(setting, {0, share}));
}

double LayoutProgram::head_seconds() const { return head_.forward.total() + head_.backward.total(); }

double LayoutProgram::seconds(double longest, double again) const {
  const Setting setting{model_, machines_, run_, mesh_, profile_};
  const double sum = busy_before_.back() + head_seconds() + again;
  const PipelineTime time = pipeline_time(setting, {longest, sum, weight_seconds_});
  return time.busy + time.bubble + time.hops + constant_;
}

double LayoutProgram::least_longest(double again) const {
  const double head = head_seconds();
  double least = (busy_before_.back() + head + again) / mesh_.pipeline;
  const double last = busy_before_.back() - busy_before_[busy_before_.size() - 1 - least_layers(mesh_.pipeline - 1)];
  return std::max(least, head + last);
}

double LayoutProgram::bound() const { return seconds(least_longest(0), 0) + least_end_; }

std::uint32_t LayoutProgram::least_layers(std::uint32_t stage) const {
  // The head may be a chunk of its own.
  return stage + 1 == mesh_.pipeline && mesh_.pipeline > 1 ? mesh_.chunks - 1 : mesh_.chunks;
}

std::vector<LayoutProgram::Regime> LayoutProgram::regimes() const {
  if (held_) return {{*held_, std::nullopt, false}};
  std::vector<Regime> result;
  if (choice_ == RecomputeChoice::kPerStage) {
    result.push_back({Recompute::kFull, std::nullopt, true});
  } else {
    result.push_back({Recompute::kNone, std::nullopt, false});
  }
  if (!profile_.has_fused_attention && choice_ != RecomputeChoice::kAllOrNone) {
    result.push_back({Recompute::kAttention, std::nullopt, false});
  }
  if (choice_ == RecomputeChoice::kUniform) {
    for (std::uint32_t count = mesh_.chunks; count < run_of_.size(); count += mesh_.chunks) {
      result.push_back({Recompute::kFull, count, false});
    }
  }
  if (choice_ != RecomputeChoice::kPerStage) result.push_back({Recompute::kFull, std::nullopt, false});
  return result;
}

std::vector<StageLayers> LayoutProgram::parts(std::uint32_t begin, std::uint32_t end) const {
  std::vector<StageLayers> result;
  for (std::uint32_t i = begin; i < end; ++i) {
    if (result.empty() || result.back().run != run_of_[i]) result.push_back({run_of_[i], 0});
    result.back().count += 1;
  }
  return result;
}

bool LayoutProgram::fits(const Strategy& own, std::uint32_t stage, const std::vector<StageLayers>& parts,
                         const LayerWeights& held) const {
  const StepMemory memory = stage_memory({model_, machines_, run_, own, profile_}, stage, parts, held);
  return memory.total() <= machines_.device.memory;
}

LayoutProgram::Cell LayoutProgram::make_cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin,
                                             std::uint32_t end) const {
  const std::vector<StageLayers> layers = parts(begin, end);
  LayerWeights held;
  Strategy own = mesh_;
  own.recompute = regime.recompute;
  own.recomputed_layers = regime.count;
  for (const StageLayers& part : layers) {
    held = held + part.count * layer_weights({model_, machines_, run_, own, profile_}, model_.layers[part.run]);
  }
  if (stage == 0) held = held + first_;
  if (stage + 1 == mesh_.pipeline) held = held + last_;
  Cell cell;
  if (!regime.is_free) {
    cell.fits = fits(own, stage, layers, held);
  } else {
    own.recomputed_per_stage.assign(mesh_.pipeline, 0);
    const auto fits_with = [&](std::uint32_t count) {
      own.recomputed_per_stage[stage] = count;
      return fits(own.of_stage(stage), stage, layers, held);
    };
    // One layer made again needs room of its own, so only from one on more of them need less.
    std::uint32_t most = end - begin;
    cell.fits = fits_with(0);
    if (!cell.fits && most > 0 && fits_with(most)) {
      cell.fits = true;
      for (std::uint32_t least = 1; least < most;) {
        const std::uint32_t middle = (least + most) / 2;
        if (fits_with(middle)) {
          most = middle;
        } else {
          least = middle + 1;
        }
      }
      cell.count = most;
    }
    own.recomputed_per_stage[stage] = cell.count;
    own = own.of_stage(stage);
  }
  const StageTime time = stage_time({model_, machines_, run_, own, profile_}, layer_times_, layers);
  cell.again = time.recompute;
  cell.busy = time.total();
  if (stage + 1 == mesh_.pipeline) cell.busy += head_seconds();
  cell.end = end_seconds({model_, machines_, run_, mesh_, profile_}, held);
  return cell;
}

const LayoutProgram::Cell& LayoutProgram::cell(const Regime& regime, std::uint32_t stage, std::uint32_t begin,
                                               std::uint32_t end) {
  // Equal layers are alike wherever they begin.
  const bool is_uniform = begin < end && run_of_[begin] == run_of_[end - 1];
  const std::uint64_t from = is_uniform ? run_of_.size() + run_of_[begin] : begin;
  const std::uint64_t key = (std::uint64_t{stage} << 42U) | (from << 21U) | (end - begin);
  const auto [place, is_new] = cells_.try_emplace(key);
  if (is_new) place->second = make_cell(regime, stage, begin, end);
  return place->second;
}

std::optional<LayoutProgram::Found> LayoutProgram::least_again(const Regime& regime, double longest, double end) {
  struct Entry {
    double again = kInfinite;
    std::uint32_t begin = 0;
  };
  const auto count = static_cast<std::uint32_t>(run_of_.size());
  const std::uint32_t depth = mesh_.pipeline;
  const double head = head_seconds();
  std::vector<std::vector<Entry>> table(depth + 1, std::vector<Entry>(count + 1));
  table[0][0].again = 0;
  const double limit = longest * (1 + kRounding);
  for (std::uint32_t stage = 0; stage < depth; ++stage) {
    const double behind = (depth - stage - 1) * limit;
    for (std::uint32_t begin = 0; begin <= count; ++begin) {
      if (!std::isfinite(table[stage][begin].again)) continue;
      for (std::uint32_t next = begin + least_layers(stage); next <= count; ++next) {
        if (stage + 1 == depth && next < count) continue;
        const double busy = busy_before_[next] - busy_before_[begin];
        if (busy > limit) break;
        // What is left must be done by the stages behind.
        if (stage + 1 < depth && busy_before_[count] - busy_before_[next] + head > behind * (1 + kRounding)) continue;
        const Cell& made = cell(regime, stage, begin, next);
        if (!made.fits || made.busy > limit || made.end > end) continue;
        Entry& entry = table[stage + 1][next];
        const double again = table[stage][begin].again + made.again;
        if (again < entry.again) entry = {again, begin};
      }
    }
  }
  if (!std::isfinite(table[depth][count].again)) return std::nullopt;
  Found found;
  found.layers.resize(depth);
  found.counts.resize(depth);
  found.again = table[depth][count].again;
  std::uint32_t next = count;
  for (std::uint32_t stage = depth; stage-- > 0;) {
    const std::uint32_t begin = table[stage + 1][next].begin;
    const Cell& made = cell(regime, stage, begin, next);
    found.layers[stage] = next - begin;
    found.counts[stage] = made.count;
    found.longest = std::max(found.longest, made.busy);
    found.end = std::max(found.end, made.end);
    next = begin;
  }
  return found;
}

void LayoutProgram::consider(const Regime& regime, const Found& found, Layout& best) const {
  const double value = seconds(found.longest, found.again) + found.end;
  if (value >= best.seconds) return;
  best.seconds = value;
  Strategy& s = best.strategy = mesh_;
  s.layers_per_stage = found.layers;
  s.recompute = regime.recompute;
  s.recomputed_layers = regime.count;
  if (!regime.is_free) return;
  if (std::ranges::all_of(found.counts, [](std::uint32_t count) { return count == 0; })) {
    s.recompute = Recompute::kNone;
  } else if (std::ranges::equal(found.counts, found.layers)) {
    s.recomputed_layers.reset();
  } else if (std::ranges::all_of(found.counts, [&](std::uint32_t count) { return count == found.counts.front(); })) {
    s.recomputed_layers = found.counts.front();
  } else {
    s.recomputed_per_stage = found.counts;
  }
}

std::optional<LayoutProgram::Found> LayoutProgram::shortest_longest(const Regime& regime, double end,
                                                                    const Layout& best) {
  double below = least_longest(0);
  std::optional<Found> shortest;
  for (double step = kFirstStep; !shortest; step *= kStepGrowth) {
    if (seconds(below, 0) + least_end_ >= best.seconds || below > busy_before_.back() * kMostAgain + head_seconds()) {
      return std::nullopt;
    }
    const double limit = least_longest(0) * (1 + step);
    shortest = least_again(regime, limit, end);
    if (!shortest) below = limit;
  }
  while (shortest->longest - below > kTolerance * shortest->longest) {
    const double middle = (below + shortest->longest) / 2;
    if (auto found = least_again(regime, middle, end)) {
      shortest = std::move(found);
    } else {
      below = middle;
    }
  }
  return shortest;
}

double LayoutProgram::longest_worth(double again, double value) const {
  double low = least_longest(again);
  double high = low;
  while (seconds(high, again) <= value) high *= 2;
  while (high - low > kTolerance * high) {
    const double middle = (low + high) / 2;
    (seconds(middle, again) <= value ? low : high) = middle;
  }
  return high;
}

std::optional<LayoutProgram::Found> LayoutProgram::fastest_before_end(const Regime& regime, double end, Layout& best) {
  const auto shortest = shortest_longest(regime, end, best);
  if (!shortest) return std::nullopt;
  consider(regime, *shortest, best);
  Found fastest = *shortest;
  const auto value = [&](const Found& found) { return seconds(found.longest, found.again); };
  // A longer stage pays where less is made again: from the longest that still could, each step down at the least price.
  double least = 0;
  for (double limit = longest_worth(0, value(fastest)); limit > shortest->longest * (1 + kRounding);) {
    const auto found = least_again(regime, limit, end);
    if (!found) break;
    consider(regime, *found, best);
    if (value(*found) < value(fastest)) fastest = *found;
    if (least == 0) least = found->again;
    if (shortest->again <= least * (1 + kRounding)) break;  // nothing makes less again
    limit = std::min(found->longest * (1 - kLess), longest_worth(least, value(fastest)));
  }
  return fastest;
}

void LayoutProgram::look_through(const Regime& regime, Layout& best) {
  cells_.clear();
  for (double end = kInfinite; true;) {
    const auto found = fastest_before_end(regime, end, best);
    if (!found) return;
    // Earlier ends leave fewer layouts, which are no faster before their end.
    if (seconds(found->longest, found->again) + least_end_ >= best.seconds * (1 - kRounding)) return;
    end = found->end * (1 - kLess);
  }
}

double LayoutProgram::least_of(const Regime& regime) const {
  if (!regime.count) return 0;
  // The same number on every stage is no smaller a share of any layer than on the longest stage that there can be.
  const auto forward = [](const LayerTime& time) { return time.forward.total(); };
  const double fastest = forward(*std::ranges::min_element(layer_times_, {}, forward));
  std::size_t others = 0;
  for (std::uint32_t stage = 1; stage < mesh_.pipeline; ++stage) others += least_layers(stage);
  const auto most = static_cast<double>(run_of_.size() - others);
  return fastest * static_cast<double>(run_of_.size()) * std::min(1.0, static_cast<double>(*regime.count) / most);
}

std::optional<LayoutProgram::Layout> LayoutProgram::fastest(double below) {
  Layout best;
  best.seconds = below;
  if (run_of_.size() + 1 < std::size_t{mesh_.pipeline} * mesh_.chunks) return std::nullopt;
  for (const Regime& regime : regimes()) {
    const double again = least_of(regime);
    if (seconds(least_longest(again), again) + least_end_ < best.seconds) look_through(regime, best);
  }
  if (best.seconds >= below) return std::nullopt;
  return best;
}

}  // namespace opweave::strategy
