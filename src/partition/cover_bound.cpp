#include "partition/cover_bound.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "core/infinity.h"
#include "exact/engine.h"
#include "partition/best_set.h"

namespace opweave::partition {
namespace {

/// No proof is in reach for larger models, and looking for one would take its time.
constexpr std::size_t kMostVertices = 1000;

/// Work of all vertices over all devices: for any weights y >= 0 of the kinds,
///   T >= sum over vertices of min over kinds of y w / sum over devices of y.
double work_bound(const CutModel& model) {
  // The best weights make some vertices indifferent between two kinds: only their ratios need be tried.
  double best = 0;
  const auto try_weights = [&](const std::vector<double>& y) {
    double total = 0;
    double power = 0;
    for (std::size_t k = 0; k < model.kinds.size(); ++k) power += y[k] * model.kinds[k].count;
    for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
      double least = kInfinity;
      for (std::size_t k = 0; k < model.kinds.size(); ++k) {
        if (model.kinds[k].count > 0 && y[k] > 0) least = std::min(least, y[k] * model.kinds[k].work[vertex]);
        if (model.kinds[k].count > 0 && y[k] == 0 && model.kinds[k].work[vertex] < kInfinity) least = 0;
      }
      if (least < kInfinity) total += least;
    }
    if (power > 0) best = std::max(best, total / power);
  };
  std::set<std::vector<double>> weights;
  for (std::size_t k = 0; k < model.kinds.size(); ++k) {
    if (model.kinds[k].count == 0) continue;
    std::vector<double> y(model.kinds.size(), 0);
    y[k] = 1;
    weights.insert(y);
    for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
      const double reference = model.kinds[k].work[vertex];
      if (!(reference > 0) || reference == kInfinity) continue;
      for (std::size_t other = 0; other < model.kinds.size(); ++other) {
        if (other == k || model.kinds[other].count == 0) continue;
        const double work = model.kinds[other].work[vertex];
        y[other] = work > 0 && work < kInfinity ? reference / work : 0;
      }
      weights.insert(y);
    }
  }
  // Any weights prove something: of very many, some evenly spread ones are tried.
  constexpr std::size_t kMostSteps = 50'000'000;
  const std::size_t per_try = std::max<std::size_t>(1, model.vertex_count() * model.kinds.size());
  const std::size_t every = 1 + weights.size() / std::max<std::size_t>(1, kMostSteps / per_try);
  std::size_t count = 0;
  for (const std::vector<double>& y : weights) {
    if (count++ % every == 0) try_weights(y);
  }
  return best;
}

/// What one proof learned and the next can use, in vertices of the whole model.
struct Memory {
  std::vector<std::vector<std::vector<Vertex>>> sets;  ///< by kind: sets that devices could hold
  std::vector<double> price;                           ///< by vertex: prices that proved most
  std::uint64_t work = 0;
};

double load_of(const CutModel& model, const DeviceKind& kind, const std::vector<Vertex>& vertices) {
  double load = 0;
  for (const Vertex vertex : vertices) load += kind.work[vertex];
  if (!kind.pays_transfers) return load;
  for (const Net& net : model.nets) {
    const auto inside = std::count_if(net.pins.begin(), net.pins.end(), [&](Vertex vertex) {
      return std::binary_search(vertices.begin(), vertices.end(), vertex);
    });
    if (inside > 0 && static_cast<std::size_t>(inside) < net.pins.size()) load += net.cost;
  }
  return load;
}

/// The linear program of the cover, from the side of its dual, on the sets known so far: greatest sum of prices, where
/// no known set of a kind has a price above `most` of the kind, and the sum of count x most is 1. A sum of more than 1
/// says that devices cannot hold all vertices.
class CoverProgram {
 public:
  struct Prices {
    std::vector<double> price;  ///< by vertex
    std::vector<double> most;   ///< by kind
    double total = 0;
  };

  explicit CoverProgram(const CutModel& model) : model_(model), sets_(model.kinds.size()), known_(model.kinds.size()) {}

  /// \pre the vertices, ascending, are within the limit on a device of the kind
  void add(std::size_t kind, std::vector<Vertex> vertices) {
    if (known_[kind].insert(vertices).second) sets_[kind].push_back(std::move(vertices));
  }
  [[nodiscard]] const std::vector<std::vector<std::vector<Vertex>>>& sets() const { return sets_; }

  [[nodiscard]] std::optional<Prices> solve(const Budget& budget) const {
    auto program = std::make_shared<exact::MipModel>();
    const auto no_name = [] { return std::string(); };
    // A box keeps the program bounded while few sets are known; prices within it prove as well as any.
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) program->add_column(-1, 1, -1, false, no_name);
    std::vector<exact::MipModel::Term> supply;
    for (const DeviceKind& kind : model_.kinds) {
      supply.push_back({program->add_column(0, kInfinity, 0, false, no_name), static_cast<double>(kind.count)});
    }
    program->add_row(supply, -kInfinity, 1);
    for (std::size_t kind = 0; kind < sets_.size(); ++kind) {
      for (const std::vector<Vertex>& vertices : sets_[kind]) {
        std::vector<exact::MipModel::Term> row;
        for (const Vertex vertex : vertices) row.push_back({vertex, 1});
        row.push_back({supply[kind].column, -1});
        program->add_row(std::move(row), -kInfinity, 0);
      }
    }
    exact::EngineLimits limits;
    limits.seconds = budget.remaining();
    const auto claim =
        exact::run<exact::MipModel>(exact::highs_engine(), program, limits, [&budget] { return budget.expired(); });
    if (claim.status != exact::EngineStatus::kOptimal) return std::nullopt;
    Prices prices;
    prices.price.assign(claim.values.begin(),
                        claim.values.begin() + static_cast<std::ptrdiff_t>(model_.vertex_count()));
    for (const auto& term : supply) prices.most.push_back(claim.values[term.column]);
    prices.total = -claim.objective;
    return prices;
  }

 private:
  const CutModel& model_;
  std::vector<std::vector<std::vector<Vertex>>> sets_;  ///< by kind
  std::vector<std::set<std::vector<Vertex>>> known_;
};

/// The attempt to prove that no assignment has a largest load below a limit.
class Proof {
 public:
  /// \param most_work  labels after which the attempt ends
  Proof(const CutModel& whole, double limit, Memory& memory, std::uint64_t most_work, const Budget& budget)
      : budget_(budget),
        most_work_(most_work),
        limit_(limit),
        memory_(memory),
        small_(contract(whole, limit)),
        program_(small_.model) {
    const CutModel& model = small_.model;
    for (std::size_t kind = 0; kind < model.kinds.size(); ++kind) {
      pricers_.emplace_back(model, kind, limit);
      for (const std::vector<Vertex>& vertices : memory.sets[kind]) add_if_within(kind, merged(vertices));
      for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) add_if_within(kind, {vertex});
    }
    centre_.assign(model.vertex_count(), 0);
    for (Vertex vertex = 0; vertex < whole.vertex_count(); ++vertex)
      centre_[small_.vertex_of[vertex]] += memory.price[vertex];
  }

  /// True if proven.
  bool run() {
    const bool proven = search();
    for (const BestSet& pricer : pricers_) memory_.work += pricer.work();
    learn();
    return proven;
  }

 private:
  /// Beyond what rounding explains.
  static constexpr double kMargin = 1e-7;
  /// As in BestSet, less what rounding may add.
  static constexpr double kCoverTolerance = 9e-12;

  bool search() {
    const auto exhausted = [&] { return budget_.expired() || pricers_[0].work() > most_work_; };
    CoverProgram::Prices none;
    none.price = centre_;
    none.most.assign(pricers_.size(), 0);
    bool is_new = false;
    for (const CoverProgram::Prices* prices = &none; !exhausted();) {
      // Prices near the best ones so far are better than the program's, which jump about (Wentges 1997).
      is_new = false;
      for (const double weight : {0.75, 0.0}) {
        std::vector<double> price = prices->price;
        for (std::size_t u = 0; u < price.size(); ++u) price[u] = weight * centre_[u] + (1 - weight) * price[u];
        const std::optional<bool> proven = look_up(price, *prices, is_new);
        if (!proven || *proven) return proven.value_or(false);
        if (is_new) break;
      }
      if (!is_new) return false;
      latest_ = program_.solve(budget_);
      if (!latest_ || latest_->total <= 1 + kMargin) return false;
      prices = &*latest_;
    }
    return false;
  }

  /// Looks for the most expensive sets. Are these prices a proof? `is_new` becomes true if a set was found that the
  /// program did not know and that contradicts `prices`. Nothing if the budget ended.
  std::optional<bool> look_up(const std::vector<double>& price, const CoverProgram::Prices& prices, bool& is_new) {
    const CutModel& model = small_.model;
    double total = 0;
    for (const double p : price) total += p;
    double used = 0;
    // Kinds that do not pay are quick; what they leave is what a device of the first may be worth without a proof.
    for (std::size_t kind = pricers_.size(); kind-- > 0;) {
      const double count = model.kinds[kind].count;
      if (count == 0) continue;
      const double floor = kind == 0 ? std::max(0.0, (total / (1 + 2 * kMargin) - used) / count) : 0;
      const std::optional<BestSet::Answer> answer = pricers_[kind].find(price, floor, budget_);
      if (!answer) return std::nullopt;
      used += count * answer->most;
      for (const BestSet::Found& found : answer->found) {
        double value = 0;
        for (const Vertex vertex : found.vertices) value += prices.price[vertex];
        if (add_if_within(kind, found.vertices)) is_new = is_new || value > prices.most[kind] + 1e-9;
      }
    }
    const double ratio = used > 0 ? total / used : 0;
    if (ratio > 1 + kMargin) return true;
    if (ratio > best_) {
      best_ = ratio;
      centre_ = price;
      for (double& p : centre_) p /= used;
    }
    return false;
  }

  bool add_if_within(std::size_t kind, std::vector<Vertex> vertices) {
    if (load_of(small_.model, small_.model.kinds[kind], vertices) >= limit_ * (1 - kCoverTolerance)) return false;
    program_.add(kind, std::move(vertices));
    return true;
  }

  [[nodiscard]] std::vector<Vertex> merged(const std::vector<Vertex>& vertices) const {
    std::vector<Vertex> result;
    for (const Vertex vertex : vertices) result.push_back(small_.vertex_of[vertex]);
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

  void learn() {
    std::vector<std::vector<Vertex>> members(small_.model.vertex_count());
    for (Vertex vertex = 0; vertex < small_.vertex_of.size(); ++vertex)
      members[small_.vertex_of[vertex]].push_back(vertex);
    std::fill(memory_.price.begin(), memory_.price.end(), 0);
    for (Vertex vertex = 0; vertex < members.size(); ++vertex) memory_.price[members[vertex].front()] = centre_[vertex];
    for (std::size_t kind = 0; kind < program_.sets().size(); ++kind) {
      memory_.sets[kind].clear();
      for (const std::vector<Vertex>& vertices : program_.sets()[kind]) {
        std::vector<Vertex>& set = memory_.sets[kind].emplace_back();
        for (const Vertex vertex : vertices) set.insert(set.end(), members[vertex].begin(), members[vertex].end());
      }
    }
  }

  const Budget& budget_;
  const std::uint64_t most_work_;
  const double limit_;
  Memory& memory_;
  Contraction small_;
  CoverProgram program_;
  std::vector<BestSet> pricers_;
  std::optional<CoverProgram::Prices> latest_;
  std::vector<double> centre_;  ///< the prices that proved most, scaled to a use of 1
  double best_ = 0;
};

/// The sets of good assignments, and prices like the work, which prove the bound from work.
Memory first_memory(const CutModel& model, const std::vector<Assignment>& samples) {
  Memory memory;
  memory.sets.resize(model.kinds.size());
  for (const Assignment& sample : samples) {
    for (std::size_t kind = 0; kind < model.kinds.size(); ++kind) {
      const std::size_t first = model.first_device(kind);
      std::vector<std::vector<Vertex>> sets(model.kinds[kind].count);
      for (Vertex vertex = 0; vertex < sample.size(); ++vertex) {
        if (sample[vertex] >= first && sample[vertex] < first + sets.size())
          sets[sample[vertex] - first].push_back(vertex);
      }
      for (std::vector<Vertex>& set : sets) {
        if (!set.empty()) memory.sets[kind].push_back(std::move(set));
      }
    }
  }
  double total = 0;
  for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
    double least = kInfinity;
    for (const DeviceKind& kind : model.kinds) {
      if (kind.count > 0) least = std::min(least, kind.work[vertex]);
    }
    memory.price.push_back(least < kInfinity ? least : 0);
    total += memory.price.back();
  }
  for (double& price : memory.price) price /= std::max(total, 1e-300);
  return memory;
}

}  // namespace

LoadBound simple_bound(const CutModel& model) {
  LoadBound bound{work_bound(model), "work"};
  for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
    double least = kInfinity;
    for (const DeviceKind& kind : model.kinds) {
      if (kind.count > 0 && model.bytes[vertex] <= kind.capacity) least = std::min(least, kind.work[vertex]);
    }
    if (least < kInfinity && least > bound.value) bound = {least, "unit"};
  }
  return bound;
}

LoadBound cover_bound(const CutModel& whole, const CoverOptions& options, const Budget& budget) {
  LoadBound bound = simple_bound(whole);
  if (whole.vertex_count() == 0 || whole.vertex_count() > kMostVertices ||
      !exact::highs_engine()->unavailable_because().empty())
    return bound;
  CutModel model = whole;
  model.precedence.clear();  // nothing hangs together, so more may be merged
  Memory memory = first_memory(model, options.samples);
  const auto exhausted = [&] {
    return budget.expired() || (budget.work_limit() && memory.work > *budget.work_limit());
  };
  // An attempt that leads nowhere must leave time for the next one, at a value that is easier to prove.
  constexpr double kAttempt = 0.5;
  const auto proves = [&](double limit) {
    const Budget part = budget.share(kAttempt);
    std::uint64_t most_work = std::numeric_limits<std::uint64_t>::max();
    if (budget.work_limit()) {
      most_work = static_cast<std::uint64_t>(kAttempt * static_cast<double>(*budget.work_limit() - memory.work));
    }
    return Proof(model, limit, memory, most_work, part).run();
  };
  // Often the best assignment is optimal and the program says so.
  if (options.upper < kInfinity && bound.value < options.upper && proves(options.upper))
    return {options.upper, "cover"};
  double high = options.upper;
  constexpr double kPrecision = 1e-3;
  while (high < kInfinity && high - bound.value > kPrecision * high && !exhausted()) {
    const double middle = bound.value + 0.5 * (high - bound.value);
    if (proves(middle)) {
      bound = {middle, "cover"};
    } else {
      high = middle;
    }
  }
  return bound;
}

}  // namespace opweave::partition
