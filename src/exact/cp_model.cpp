#include "exact/cp_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace opweave::exact {
namespace {

__extension__ using Wide = __int128;

// Solvers of this kind compute with 64 bits; sums that stay below a quarter of that cannot overflow them.
constexpr Wide kLargestSum = std::numeric_limits<std::int64_t>::max() / 4;
// CP-SAT 9.15 calls optimal what is not where coefficients reach 10^10; up to 4 x 10^9 no such answer was seen
// (docs/partition.md).
constexpr std::int64_t kLargestCoefficient = std::int64_t{1} << 31;

bool holds(CpModel::Literal literal, std::span<const std::int64_t> values) {
  return (values[static_cast<std::size_t>(literal.variable())] != 0) != literal.is_negated();
}

bool all_hold(const std::vector<CpModel::Literal>& literals, std::span<const std::int64_t> values) {
  return std::all_of(literals.begin(), literals.end(), [&](CpModel::Literal l) { return holds(l, values); });
}

Wide value_of(const CpModel::Affine& affine, std::span<const std::int64_t> values) {
  return Wide{affine.offset} + (affine.variable ? values[static_cast<std::size_t>(*affine.variable)] : 0);
}

Wide value_of(const std::vector<CpModel::Term>& terms, std::span<const std::int64_t> values) {
  Wide sum = 0;
  for (const CpModel::Term& term : terms) {
    sum += Wide{term.coefficient} * values[static_cast<std::size_t>(term.variable)];
  }
  return sum;
}

/// Largest sum of the demands of present intervals that hold a common moment.
Wide peak(const CpModel& model, const std::vector<CpModel::Interval>& intervals,
          const std::vector<std::int64_t>& demands, std::span<const std::int64_t> values) {
  struct Change {
    Wide time;
    Wide amount;
  };
  std::vector<Change> changes;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const CpModel::IntervalParts& parts = model.intervals()[static_cast<std::size_t>(intervals[i])];
    if (parts.is_present && !holds(*parts.is_present, values)) continue;
    const Wide start = value_of(parts.start, values);
    const Wide end = value_of(parts.end, values);
    if (start >= end) continue;
    changes.push_back({start, demands[i]});
    changes.push_back({end, -Wide{demands[i]}});
  }
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.time != b.time ? a.time < b.time : a.amount < b.amount; });
  Wide level = 0;
  Wide highest = 0;
  for (const Change& change : changes) {
    level += change.amount;
    highest = std::max(highest, level);
  }
  return highest;
}

/// First defect of the parts of a model: variables that do not exist, sums that may overflow.
class Inspection {
 public:
  explicit Inspection(const CpModel& model) : model_(model) {}

  std::string defect() {
    for (std::size_t v = 0; v < model_.domains().size(); ++v) {
      const CpModel::Domain& domain = model_.domains()[v];
      if (domain.lower > domain.upper) {
        return fmt::format("domain of variable {} is {} to {}", v, domain.lower, domain.upper);
      }
      if (Wide{domain.upper} > kLargestSum || Wide{domain.lower} < -kLargestSum) {
        return fmt::format("domain of variable {} is {} to {}, which may overflow", v, domain.lower, domain.upper);
      }
    }
    for (const CpModel::Linear& linear : model_.linears()) {
      inspect("linear constraint", linear.terms);
      for (const CpModel::Literal literal : linear.when) inspect(literal);
    }
    for (const CpModel::Choice& choice : model_.choices()) {
      for (const CpModel::Literal literal : choice.literals) inspect(literal);
    }
    for (const CpModel::IntervalParts& interval : model_.intervals()) {
      for (const CpModel::Affine* affine : {&interval.start, &interval.size, &interval.end}) {
        if (affine->variable) inspect(*affine->variable);
      }
      if (interval.is_present) inspect(*interval.is_present);
    }
    for (const CpModel::NoOverlap& constraint : model_.no_overlaps()) inspect_intervals(constraint.intervals);
    for (const CpModel::Cumulative& constraint : model_.cumulatives()) inspect(constraint);
    inspect("objective", model_.objective_terms());
    return defect_;
  }

 private:
  void report(std::string text) {
    if (defect_.empty()) defect_ = std::move(text);
  }
  bool inspect(CpModel::Variable variable) {
    if (variable >= 0 && static_cast<std::size_t>(variable) < model_.domains().size()) return true;
    report(fmt::format("variable {} of {}", variable, model_.domains().size()));
    return false;
  }
  void inspect(CpModel::Literal literal) {
    if (!inspect(literal.variable())) return;
    const CpModel::Domain& domain = model_.domains()[static_cast<std::size_t>(literal.variable())];
    if (domain.lower < 0 || domain.upper > 1) {
      report(fmt::format("variable {} serves as a literal, but its domain is {} to {}", literal.variable(),
                         domain.lower, domain.upper));
    }
  }
  void inspect(const char* what, const std::vector<CpModel::Term>& terms) {
    Wide largest = 0;
    for (const CpModel::Term& term : terms) {
      if (!inspect(term.variable)) return;
      if (term.coefficient > kLargestCoefficient || term.coefficient < -kLargestCoefficient) {
        return report(fmt::format("a {} has the coefficient {}, expected at most {} in size", what, term.coefficient,
                                  kLargestCoefficient));
      }
      const CpModel::Domain& domain = model_.domains()[static_cast<std::size_t>(term.variable)];
      const Wide a = Wide{term.coefficient} * domain.lower;
      const Wide b = Wide{term.coefficient} * domain.upper;
      largest += std::max(a < 0 ? -a : a, b < 0 ? -b : b);
      if (largest > kLargestSum) return report(fmt::format("a {} may overflow", what));
    }
  }
  bool inspect_intervals(const std::vector<CpModel::Interval>& intervals) {
    for (const CpModel::Interval interval : intervals) {
      if (interval < 0 || static_cast<std::size_t>(interval) >= model_.intervals().size()) {
        report(fmt::format("interval {} of {}", interval, model_.intervals().size()));
        return false;
      }
    }
    return true;
  }
  void inspect(const CpModel::Cumulative& constraint) {
    if (!inspect_intervals(constraint.intervals)) return;
    if (constraint.demands.size() != constraint.intervals.size()) {
      return report(fmt::format("{} demands for {} intervals", constraint.demands.size(), constraint.intervals.size()));
    }
    // Demand times length, summed, is what cumulative reasoning computes with.
    Wide energy = 0;
    for (std::size_t i = 0; i < constraint.intervals.size(); ++i) {
      if (constraint.demands[i] < 0) return report(fmt::format("demand {} is negative", constraint.demands[i]));
      const CpModel::IntervalParts& parts = model_.intervals()[static_cast<std::size_t>(constraint.intervals[i])];
      energy += Wide{constraint.demands[i]} * (upper(parts.end) - lower(parts.start));
      if (energy > kLargestSum) return report("a cumulative constraint may overflow");
    }
  }
  Wide lower(const CpModel::Affine& affine) const {
    return Wide{affine.offset} +
           (affine.variable ? model_.domains()[static_cast<std::size_t>(*affine.variable)].lower : 0);
  }
  Wide upper(const CpModel::Affine& affine) const {
    return Wide{affine.offset} +
           (affine.variable ? model_.domains()[static_cast<std::size_t>(*affine.variable)].upper : 0);
  }

  const CpModel& model_;
  std::string defect_;
};

}  // namespace

CpModel::Variable CpModel::add_variable(std::int64_t lower, std::int64_t upper) {
  domains_.push_back({lower, upper});
  hints_.emplace_back();
  return static_cast<Variable>(domains_.size() - 1);
}

CpModel::Literal CpModel::always() {
  if (!always_) always_ = Literal(add_variable(1, 1));
  return *always_;
}

CpModel::Interval CpModel::add_interval(Affine start, Affine size, Affine end, std::optional<Literal> is_present) {
  intervals_.push_back({start, size, end, is_present});
  return static_cast<Interval>(intervals_.size() - 1);
}

void CpModel::add_linear(std::vector<Term> terms, std::int64_t lower, std::int64_t upper, std::vector<Literal> when) {
  linears_.push_back({std::move(terms), lower, upper, std::move(when)});
}

void CpModel::add_choice(Choice::Kind kind, std::vector<Literal> literals) {
  choices_.push_back({kind, std::move(literals)});
}

void CpModel::add_implication(std::vector<Literal> when, Literal then) {
  for (Literal& literal : when) literal = literal.negated();
  when.push_back(then);
  add_choice(Choice::Kind::kAtLeastOne, std::move(when));
}

void CpModel::add_order(Affine earlier, Affine later, std::int64_t lag, std::vector<Literal> when) {
  const std::int64_t least = earlier.offset + lag - later.offset;
  std::vector<Term> terms;
  if (later.variable != earlier.variable) {
    if (later.variable) terms.push_back({*later.variable, 1});
    if (earlier.variable) terms.push_back({*earlier.variable, -1});
  }
  if (terms.empty() && least <= 0) return;
  add_linear(std::move(terms), least, std::numeric_limits<std::int64_t>::max(), std::move(when));
}

void CpModel::add_no_overlap(std::vector<Interval> intervals) {
  if (intervals.size() > 1) no_overlaps_.push_back({std::move(intervals)});
}

void CpModel::add_cumulative(std::vector<Interval> intervals, std::vector<std::int64_t> demands,
                             std::int64_t capacity) {
  cumulatives_.push_back({std::move(intervals), std::move(demands), capacity});
}

void CpModel::hint(Variable variable, std::int64_t value) { hints_[static_cast<std::size_t>(variable)] = value; }

std::vector<std::int64_t> CpModel::start() const {
  std::vector<std::int64_t> values;
  values.reserve(hints_.size());
  for (const std::optional<std::int64_t>& hint : hints_) {
    if (!hint) return {};
    values.push_back(*hint);
  }
  return values;
}

std::int64_t CpModel::objective(std::span<const std::int64_t> values) const {
  return static_cast<std::int64_t>(value_of(objective_, values));
}

std::string CpModel::violation(std::span<const std::int64_t> values) const {
  if (values.size() != domains_.size())
    return fmt::format("{} values for {} variables", values.size(), domains_.size());
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (values[v] < domains_[v].lower || values[v] > domains_[v].upper) {
      return fmt::format("variable {} is {}, expected {} to {}", v, values[v], domains_[v].lower, domains_[v].upper);
    }
  }
  for (std::size_t i = 0; i < linears_.size(); ++i) {
    if (!all_hold(linears_[i].when, values)) continue;
    const Wide sum = value_of(linears_[i].terms, values);
    if (sum < linears_[i].lower || sum > linears_[i].upper) return fmt::format("linear constraint {} is broken", i);
  }
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const auto& literals = choices_[i].literals;
    const auto count = std::count_if(literals.begin(), literals.end(), [&](Literal l) { return holds(l, values); });
    if ((choices_[i].kind != Choice::Kind::kAtMostOne && count < 1) ||
        (choices_[i].kind != Choice::Kind::kAtLeastOne && count > 1)) {
      return fmt::format("choice {} has {} literals that hold", i, count);
    }
  }
  for (std::size_t i = 0; i < intervals_.size(); ++i) {
    const IntervalParts& parts = intervals_[i];
    if (parts.is_present && !holds(*parts.is_present, values)) continue;
    const Wide size = value_of(parts.size, values);
    if (size < 0 || value_of(parts.start, values) + size != value_of(parts.end, values)) {
      return fmt::format("interval {} does not end its size after its start", i);
    }
  }
  for (std::size_t i = 0; i < no_overlaps_.size(); ++i) {
    const std::vector<std::int64_t> ones(no_overlaps_[i].intervals.size(), 1);
    if (peak(*this, no_overlaps_[i].intervals, ones, values) > 1)
      return fmt::format("intervals of no-overlap {} overlap", i);
  }
  for (std::size_t i = 0; i < cumulatives_.size(); ++i) {
    if (peak(*this, cumulatives_[i].intervals, cumulatives_[i].demands, values) > cumulatives_[i].capacity) {
      return fmt::format("capacity of cumulative {} is exceeded", i);
    }
  }
  return {};
}

std::string CpModel::defect() const { return Inspection(*this).defect(); }

}  // namespace opweave::exact
