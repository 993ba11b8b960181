#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "opweave/error.h"
#include "opweave/strategy_targets.h"
#include "opweave/strategy_search.h"

namespace opweave {
namespace {

constexpr std::array<std::string_view, 3> kTargets = {"any", "megatron", "torchtitan"};
constexpr std::uint32_t kMostContext = 64;
/// A rank of the context axis has at least so many tokens, or kernels do little but start.
constexpr std::int64_t kLeastTokensOfContext = 1024;
constexpr std::uint32_t kMostMicroBatch = 32;
constexpr std::uint32_t kMostChunks = 12;

std::vector<std::uint32_t> divisors(std::uint64_t number, std::uint64_t most) {
  std::vector<std::uint32_t> result;
  for (std::uint64_t i = 1; i <= std::min(number, most); ++i) {
    if (number % i == 0) result.push_back(static_cast<std::uint32_t>(i));
  }
  return result;
}

template <class Value>
std::vector<Value> held_or(const std::optional<Value>& held, std::vector<Value> all) {
  if (held) return {*held};
  return all;
}

/// A walk over the space, with the best of each set of degrees.
class Search {
 public:
  Search(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
         const CalibrationProfile& profile, Target target, const HeldDecisions& held, const Budget& budget)
      : model_(model),
        machines_(machines),
        run_(run),
        profile_(profile),
        target_(target),
        held_(held),
        budget_(budget) {
    for (const LayerRun& layers : model.layers) {
      if (layers.experts) experts_ = std::max(experts_, static_cast<std::uint64_t>(layers.experts->count));
    }
  }

  void walk() {
    const std::uint64_t devices = machines_.devices();
    for (const std::uint32_t tensor : held_or(held_.tensor, divisors(devices, machines_.devices_per_node))) {
      for (const std::uint32_t context : held_or(held_.context, divisors(devices, kMostContext))) {
        if (!held_.context && context > 1 && run_.sequence / context < kLeastTokensOfContext) continue;
        const auto most_stages = static_cast<std::uint64_t>(model_.layer_count());
        for (const std::uint32_t pipeline : held_or(held_.pipeline, divisors(devices, most_stages))) {
          const std::uint64_t others = std::uint64_t{tensor} * context * pipeline;
          if (devices % others != 0 || (held_.data && *held_.data != devices / others)) continue;
          Strategy strategy;
          strategy.tensor = tensor;
          strategy.has_sequence_parallelism = tensor > 1;
          strategy.context = context;
          strategy.pipeline = pipeline;
          strategy.data = static_cast<std::uint32_t>(devices / others);
          with_experts(strategy);
          if (!result_.is_complete) return;
        }
      }
    }
  }

  StrategySearchResult finish(std::size_t most) {
    for (auto& [degrees, ranked] : best_) result_.ranked.push_back(std::move(ranked));
    std::ranges::stable_sort(result_.ranked, {}, [](const RankedStrategy& r) { return r.value.time.step; });
    if (result_.ranked.size() > most) result_.ranked.resize(most);
    return std::move(result_);
  }
  [[nodiscard]] const std::string& why_excluded() const { return why_; }

 private:
  using Degrees = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;

  void with_experts(Strategy strategy) {
    const std::uint64_t ranks = std::uint64_t{strategy.tensor} * strategy.context * strategy.data;
    const auto choices = experts_ == 0 ? std::vector<std::uint32_t>{1} : divisors(experts_, ranks);
    for (const std::uint32_t expert : held_or(held_.expert, choices)) {
      strategy.expert = expert;
      for (std::uint32_t micro_batch = 1; micro_batch <= kMostMicroBatch; micro_batch *= 2) {
        if (held_.micro_batch && micro_batch > 1) break;
        strategy.micro_batch = held_.micro_batch.value_or(micro_batch);
        if (run_.global_batch % (std::int64_t{strategy.data} * strategy.micro_batch) != 0) {
          exclude(fmt::format("a batch of {} is no multiple of data {} x microbatch {}", run_.global_batch,
                              strategy.data, strategy.micro_batch));
          continue;
        }
        with_schedules(strategy);
        if (budget_.expired()) {
          result_.is_complete = false;
          return;
        }
      }
    }
  }

  /// Schedules that the target can say, with their numbers of chunks.
  void with_schedules(Strategy strategy) {
    strategy.schedule = PipelineKind::k1F1B;
    strategy.chunks = 1;
    if (is_wanted(strategy)) with_sharding(strategy);
    if (strategy.pipeline == 1) return;
    strategy.schedule = PipelineKind::kInterleaved;
    const auto layers = static_cast<std::uint64_t>(model_.layer_count());
    // Interleaving needs groups of as many microbatches as there are stages.
    const std::int64_t count = run_.global_batch / (std::int64_t{strategy.data} * strategy.micro_batch);
    for (std::uint32_t chunks = 2; chunks <= kMostChunks && count % strategy.pipeline == 0; ++chunks) {
      if (std::uint64_t{strategy.pipeline} * chunks > layers + 2) break;
      strategy.chunks = chunks;
      if (is_wanted(strategy)) with_sharding(strategy);
    }
    strategy.chunks = 1;
    if (target_ == Target::kMegatron) return;
    for (const PipelineKind kind : {PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
      strategy.schedule = kind;
      if (is_wanted(strategy)) with_sharding(strategy);
    }
  }

  [[nodiscard]] bool is_wanted(const Strategy& strategy) const {
    return (!held_.schedule || *held_.schedule == strategy.schedule) &&
           (!held_.chunks || *held_.chunks == strategy.chunks);
  }

  void with_sharding(Strategy strategy) {
    std::vector<Sharding> shardings;
    if (target_ != Target::kTorchtitan) shardings.push_back(Sharding::kOptimizer);
    if (target_ != Target::kMegatron) shardings.push_back(Sharding::kWeights);
    if (strategy.data * strategy.context == 1) shardings = {Sharding::kNone};
    for (const Sharding sharding : held_or(held_.sharding, shardings)) {
      strategy.sharding = sharding;
      std::string why = why_impossible(model_, machines_, run_, strategy);
      if (why.empty()) why = why_inexpressible(target_, model_, run_, strategy);
      if (!why.empty()) {
        exclude(why);
        continue;
      }
      with_recompute(strategy);
    }
  }

  /// Nothing made again if it fits; else the fewest layers with which it does: fewer take less time.
  void with_recompute(Strategy strategy) {
    if (held_.recompute) {
      strategy.recompute = *held_.recompute;
      if (is_expressible(strategy)) value(strategy);
      return;
    }
    if (value(strategy)) return;
    if (!profile_.has_fused_attention) {
      strategy.recompute = Recompute::kAttention;
      if (is_expressible(strategy) && value(strategy)) return;
    }
    strategy.recompute = Recompute::kFull;
    if (!value(strategy) || target_ == Target::kTorchtitan) return;  // which has all layers or none
    // Megatron-LM has one number for each chunk.
    const std::uint32_t unit = target_ == Target::kMegatron ? strategy.chunks : 1;
    auto most = static_cast<std::uint32_t>(model_.layer_count() / (std::int64_t{strategy.pipeline} * unit) + 1);
    for (std::uint32_t least = 1; least < most;) {
      const std::uint32_t middle = (least + most) / 2;
      strategy.recomputed_layers = middle * unit;
      if (value(strategy)) {
        most = middle;
      } else {
        least = middle + 1;
      }
    }
  }

  [[nodiscard]] bool is_expressible(const Strategy& strategy) const {
    return why_inexpressible(target_, model_, run_, strategy).empty();
  }

  /// Ranks the strategy if it fits; says whether it does.
  bool value(const Strategy& strategy) {
    const RankedStrategy ranked{strategy, evaluate(model_, machines_, run_, strategy, profile_)};
    ++result_.valued;
    if (!result_.least_memory || ranked.value.memory.total() < result_.least_memory->value.memory.total()) {
      result_.least_memory = ranked;
    }
    if (!ranked.value.fits) return false;
    const Degrees degrees{strategy.tensor, strategy.context, strategy.pipeline, strategy.expert, strategy.micro_batch};
    const auto [place, is_new] = best_.try_emplace(degrees, ranked);
    if (!is_new && ranked.value.time.step < place->second.value.time.step) place->second = ranked;
    return true;
  }

  void exclude(std::string why) {
    if (why_.empty()) why_ = std::move(why);
  }

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const CalibrationProfile& profile_;
  Target target_;
  const HeldDecisions& held_;
  const Budget& budget_;
  std::uint64_t experts_ = 0;
  std::map<Degrees, RankedStrategy> best_;
  StrategySearchResult result_;
  std::string why_;
};

}  // namespace

std::string_view to_string(Target target) { return kTargets.at(static_cast<std::size_t>(target)); }

std::optional<Target> target_from_string(std::string_view text) {
  const auto found = std::ranges::find(kTargets, text);
  if (found == kTargets.end()) return std::nullopt;
  return static_cast<Target>(found - kTargets.begin());
}

StrategySearchResult search_strategies(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                       const CalibrationProfile& profile, Target target, const HeldDecisions& held,
                                       std::size_t most, const Budget& budget) {
  Search search(model, machines, run, profile, target, held, budget);
  search.walk();
  StrategySearchResult result = search.finish(most);
  if (result.valued == 0 && result.is_complete) {
    const std::string why = search.why_excluded();
    throw InputError(fmt::format("no strategy is possible on {} devices{}", machines.devices(),
                                 why.empty() ? ": what is held does not divide them" : ", for example: " + why));
  }
  return result;
}

}  // namespace opweave
