#include "distribute/strategies_on.h"

#include <algorithm>
#include <limits>

#include "distribute/crew.h"
#include "distribute/question.h"
#include "distribute/strategy_parts.h"
#include "opweave/error.h"
#include "strategy/ranking.h"

namespace opweave::distribute {
namespace {

Json claim_of(const RankedStrategy& ranked) {
  return {{"mesh", ranked.mesh}, {"strategy", Json::parse(strategy_to_json(ranked.strategy))}};
}

/// The profile travels whole, the built-in one as well: a worker predicts as its driver does.
Json question_of(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                 const CalibrationProfile& profile, Target target, const HeldDecisions& held, std::size_t most) {
  return {{"kind", "strategies"},
          {"model", to_json(model)},
          {"machines", to_json(machines)},
          {"run", to_json(run)},
          {"profile", to_json(FittedProfile{machines.device.name, run.precision, false, false, profile})},
          {"target", to_string(target)},
          {"held", to_json(held)},
          {"most", most}};
}

class SharedSearch final : public Question {
 public:
  explicit SharedSearch(const Json& value)
      : model_(model_from(value.at("model"))),
        machines_(machines_from(value.at("machines"))),
        run_(run_from(value.at("run"))),
        profile_(profile_from(value.at("profile")).constants),
        target_(target_from_string(value.at("target").get<std::string>()).value()),
        held_(held_from(value.at("held"))),
        most_(value.at("most").get<std::size_t>()) {}

  [[nodiscard]] std::string hash() const override {
    return text_hash(question_of(model_, machines_, run_, profile_, target_, held_, most_).dump());
  }

  void hear(const Json& news) override { cutoff_ = news.at("cutoff").get<std::int64_t>(); }

  [[nodiscard]] Json answer(const Json& task, const std::function<void(const Json&)>& found,
                            const std::atomic<bool>& stop) override {
    Budget budget(task.at("seconds").get<double>(), std::nullopt);
    budget.watch(&stop);
    SearchShare share;
    share.part = task.at("part").get<std::size_t>();
    share.parts = task.at("parts").get<std::size_t>();
    share.cutoff = &cutoff_;
    share.on_found = [&](const RankedStrategy& ranked) { found(claim_of(ranked)); };
    const StrategySearchResult result =
        search_strategies(model_, machines_, run_, profile_, target_, held_, most_, budget, {}, share);
    Json answer = {{"meshes", result.meshes},
                   {"valued", result.valued},
                   {"complete", result.is_complete},
                   {"bound", result.bound.value()},
                   {"ranked", Json::array()}};
    for (const RankedStrategy& ranked : result.ranked) answer["ranked"].push_back(claim_of(ranked));
    if (result.least_memory) answer["least_memory"] = claim_of(*result.least_memory);
    return answer;
  }

 private:
  const ModelDescription model_;
  const Machines machines_;
  const TrainingRun run_;
  const CalibrationProfile profile_;
  const Target target_;
  const HeldDecisions held_;
  const std::size_t most_;
  std::atomic<std::int64_t> cutoff_ = std::numeric_limits<std::int64_t>::max();
};

/// What the workers have brought home.
class StrategyGathering {
 public:
  StrategyGathering(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                    const CalibrationProfile& profile, std::size_t most)
      : model_(model), machines_(machines), run_(run), profile_(profile), most_(most) {}

  void take(const Json& ranked) { (void)ranking_.offer(valued(ranked)); }

  void take_answer(const Json& answer) {
    for (const Json& ranked : answer.at("ranked")) take(ranked);
    result_.meshes = answer.at("meshes").get<std::uint64_t>();
    result_.valued += answer.at("valued").get<std::uint64_t>();
    const Duration bound(answer.at("bound").get<std::int64_t>());
    const bool is_complete = answer.at("complete").get<bool>();
    // A part of which nothing is left has no bound, and needs none.
    if (bound > Duration(0)) bounds_.push_back(bound);
    if (bound == Duration(0) && !is_complete) is_bounded_ = false;
    result_.is_complete &= is_complete;
    if (!answer.contains("least_memory")) return;
    const RankedStrategy lean = valued(answer["least_memory"]);
    const auto key = [](const RankedStrategy& r) { return std::pair(r.value.memory.total(), r.mesh); };
    if (!result_.least_memory || key(lean) < key(*result_.least_memory)) result_.least_memory = lean;
  }
  void miss_part() {
    result_.is_complete = false;
    is_bounded_ = false;
  }

  /// What a strategy must not take more than.
  [[nodiscard]] std::optional<Duration> cutoff() const { return ranking_.last_of(most_); }
  [[nodiscard]] std::optional<Duration> best() const { return ranking_.last_of(1); }
  [[nodiscard]] StrategySearchResult finish() && {
    result_.ranked = ranking_.first(most_);
    if (!result_.ranked.empty()) result_.least_memory.reset();
    if (is_bounded_ && !bounds_.empty()) result_.bound = *std::ranges::min_element(bounds_);
    return std::move(result_);
  }

 private:
  /// A worker only proposes: what a strategy takes is found out here.
  [[nodiscard]] RankedStrategy valued(const Json& ranked) const {
    const Strategy strategy = parse_strategy(ranked.at("strategy").dump(), "a worker's strategy");
    const std::string why = why_impossible(model_, machines_, run_, strategy);
    if (!why.empty()) throw InternalError("a worker's strategy is impossible: " + why);
    return {strategy, evaluate(model_, machines_, run_, strategy, profile_), ranked.at("mesh").get<std::uint64_t>()};
  }

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const CalibrationProfile& profile_;
  const std::size_t most_;
  strategy::Ranking ranking_;
  std::vector<Duration> bounds_;
  bool is_bounded_ = true;
  StrategySearchResult result_;
};

}  // namespace

std::unique_ptr<Question> read_strategy_question(const Json& question) {
  return std::make_unique<SharedSearch>(question);
}

namespace {

/// The first `most`, those alike among them.
StrategySearchResult first_on(const Place& place, std::size_t workers, const ModelDescription& model,
                              const Machines& machines, const TrainingRun& run, const CalibrationProfile& profile,
                              Target target, const HeldDecisions& held, std::size_t most, const Budget& budget,
                              const std::function<void(const StrategyProgress&)>& tell) {
  const Json question = question_of(model, machines, run, profile, target, held, most);
  Crew crew(place, workers, question, text_hash(question.dump()));
  const std::size_t parts = crew.workers();
  for (std::size_t part = 0; part < parts; ++part) {
    crew.submit(part, {{"part", part}, {"parts", parts}, {"seconds", budget.remaining().value_or(1e9)}});
  }
  StrategyGathering gathering(model, machines, run, profile, most);
  std::optional<Duration> told;
  while (crew.open() > 0) {
    if (budget.expired()) crew.stop();
    for (const Crew::Event& event : crew.next(kSecondsToListen)) {
      if (event.kind == Crew::Kind::kFound) gathering.take(event.content);
      if (event.kind == Crew::Kind::kAnswer) gathering.take_answer(event.content);
      if (event.kind != Crew::Kind::kFailure) continue;
      if (!budget.expired()) throw InputError(event.content.get<std::string>());
      gathering.miss_part();
    }
    const std::optional<Duration> cutoff = gathering.cutoff();
    if (!cutoff || (told && *cutoff >= *told)) continue;
    told = cutoff;
    crew.broadcast({{"cutoff", cutoff->value()}});
    if (tell) tell({budget.elapsed(), 0, 0, gathering.best(), {}});
  }
  return std::move(gathering).finish();
}

}  // namespace

StrategySearchResult search_strategies_on(const Place& place, std::size_t workers, const ModelDescription& model,
                                          const Machines& machines, const TrainingRun& run,
                                          const CalibrationProfile& profile, Target target, const HeldDecisions& held,
                                          std::size_t most, const Budget& budget,
                                          const std::function<void(const StrategyProgress&)>& tell) {
  const auto first = [&](std::size_t count) {
    return first_on(place, workers, model, machines, run, profile, target, held, count, budget, tell);
  };
  StrategySearchResult result = first(most);
  auto more = strategy::more_to_look_for(result.ranked, most, most);
  while (more && !budget.expired()) {
    StrategySearchResult wider = first(*more);
    if (!wider.is_complete) break;  // cut short: what is known already is better known
    result.ranked = std::move(wider.ranked);
    more = strategy::more_to_look_for(result.ranked, most, *more);
  }
  if (result.ranked.size() > most) result.ranked.resize(most);
  return result;
}

}  // namespace opweave::distribute
