/// A constraint program over integers and intervals as plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace opweave::exact {

/// Minimise a linear objective over integer variables with finite domains. Literals are variables of
/// domain {0, 1}, or their negations.
class CpModel {
 public:
  using Value = std::int64_t;
  using Variable = std::int32_t;
  using Interval = std::int32_t;

  /// A Boolean variable or its negation.
  class Literal {
   public:
    Literal() = default;
    explicit Literal(Variable variable) : code_(variable) {}
    [[nodiscard]] Literal negated() const {
      Literal result;
      result.code_ = -code_ - 1;
      return result;
    }
    /// The variable, or -variable - 1 for its negation.
    [[nodiscard]] std::int32_t code() const { return code_; }
    [[nodiscard]] Variable variable() const { return code_ < 0 ? -code_ - 1 : code_; }
    [[nodiscard]] bool is_negated() const { return code_ < 0; }
    auto operator<=>(const Literal&) const = default;

   private:
    std::int32_t code_ = 0;
  };

  /// variable + offset, or a constant.
  struct Affine {
    std::optional<Variable> variable;
    std::int64_t offset = 0;
  };
  struct Term {
    Variable variable;
    std::int64_t coefficient;
  };

  struct Domain {
    std::int64_t lower;
    std::int64_t upper;
  };
  /// lower <= sum of terms <= upper wherever all literals of `when` hold.
  struct Linear {
    std::vector<Term> terms;
    std::int64_t lower;
    std::int64_t upper;
    std::vector<Literal> when;
  };
  /// At least, at most, or exactly one of the literals holds.
  struct Choice {
    enum class Kind : std::uint8_t { kAtLeastOne, kAtMostOne, kExactlyOne };
    Kind kind;
    std::vector<Literal> literals;
  };
  /// [start, end) with start + size = end >= start, wherever `is_present` holds.
  struct IntervalParts {
    Affine start;
    Affine size;
    Affine end;
    std::optional<Literal> is_present;
  };
  /// Present intervals of positive size do not overlap.
  struct NoOverlap {
    std::vector<Interval> intervals;
  };
  /// At every moment the demands of the present intervals that contain it add up to at most `capacity`.
  struct Cumulative {
    std::vector<Interval> intervals;
    std::vector<std::int64_t> demands;
    std::int64_t capacity;
  };

  Variable add_variable(std::int64_t lower, std::int64_t upper);
  Literal add_literal() { return Literal(add_variable(0, 1)); }
  /// A literal that always holds; one per model.
  Literal always();
  Interval add_interval(Affine start, Affine size, Affine end, std::optional<Literal> is_present);
  void add_linear(std::vector<Term> terms, std::int64_t lower, std::int64_t upper, std::vector<Literal> when = {});
  void add_choice(Choice::Kind kind, std::vector<Literal> literals);
  /// All of `when` implies `then`.
  void add_implication(std::vector<Literal> when, Literal then);
  /// later >= earlier + lag wherever all of `when` hold; constants are folded.
  void add_order(Affine earlier, Affine later, std::int64_t lag = 0, std::vector<Literal> when = {});
  void add_no_overlap(std::vector<Interval> intervals);
  void add_cumulative(std::vector<Interval> intervals, std::vector<std::int64_t> demands, std::int64_t capacity);
  void minimise(std::vector<Term> terms) { objective_ = std::move(terms); }
  /// Suggests a value; a solver may ignore it.
  void hint(Variable variable, std::int64_t value);

  [[nodiscard]] const std::vector<Domain>& domains() const { return domains_; }
  [[nodiscard]] const std::vector<Linear>& linears() const { return linears_; }
  [[nodiscard]] const std::vector<Choice>& choices() const { return choices_; }
  [[nodiscard]] const std::vector<IntervalParts>& intervals() const { return intervals_; }
  [[nodiscard]] const std::vector<NoOverlap>& no_overlaps() const { return no_overlaps_; }
  [[nodiscard]] const std::vector<Cumulative>& cumulatives() const { return cumulatives_; }
  [[nodiscard]] const std::vector<Term>& objective_terms() const { return objective_; }
  /// By variable; nothing where none was given.
  [[nodiscard]] const std::vector<std::optional<std::int64_t>>& hints() const { return hints_; }
  /// The hints if every variable has one; else empty.
  [[nodiscard]] std::vector<std::int64_t> start() const;

  [[nodiscard]] std::int64_t objective(std::span<const std::int64_t> values) const;
  /// The first domain or constraint that the values break; empty if none. O(n log n).
  [[nodiscard]] std::string violation(std::span<const std::int64_t> values) const;
  /// What is wrong with the model itself (an empty domain, an unknown variable, numbers whose sums may
  /// overflow, ...); empty if nothing.
  [[nodiscard]] std::string defect() const;

 private:
  std::vector<Domain> domains_;
  std::vector<Linear> linears_;
  std::vector<Choice> choices_;
  std::vector<IntervalParts> intervals_;
  std::vector<NoOverlap> no_overlaps_;
  std::vector<Cumulative> cumulatives_;
  std::vector<Term> objective_;
  std::vector<std::optional<std::int64_t>> hints_;
  std::optional<Literal> always_;
};

}  // namespace opweave::exact
