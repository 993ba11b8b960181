/// A mixed-integer linear program as plain data: what opweave builds and what a solver is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace opweave::exact {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Minimise cost . x subject to lower <= x <= upper, row_lower <= A x <= row_upper, some x integer.
class MipModel {
 public:
  using Value = double;
  using Column = std::uint32_t;
  struct Term {
    Column column;
    double coefficient;
  };

  /// A sum of terms and a constant, for writing rows as they stand in a paper.
  class Expression {
   public:
    Expression() = default;
    Expression(double constant) : constant_(constant) {}  // NOLINT: 1 - x should read like that
    static Expression column(Column column) {
      Expression result;
      result.terms_.push_back({column, 1});
      return result;
    }
    Expression& operator+=(const Expression& other) { return add(other, 1); }
    Expression& operator-=(const Expression& other) { return add(other, -1); }
    Expression& operator*=(double factor) {
      for (Term& term : terms_) term.coefficient *= factor;
      constant_ *= factor;
      return *this;
    }
    friend Expression operator+(Expression a, const Expression& b) { return a += b; }
    friend Expression operator-(Expression a, const Expression& b) { return a -= b; }
    friend Expression operator*(double factor, Expression a) { return a *= factor; }
    [[nodiscard]] const std::vector<Term>& terms() const { return terms_; }
    [[nodiscard]] double constant() const { return constant_; }
    [[nodiscard]] bool is_constant() const { return terms_.empty(); }
    [[nodiscard]] double value(std::span<const double> values) const {
      double sum = constant_;
      for (const Term& term : terms_) sum += term.coefficient * values[term.column];
      return sum;
    }

   private:
    Expression& add(const Expression& other, double factor) {
      for (const Term& term : other.terms_) terms_.push_back({term.column, factor * term.coefficient});
      constant_ += factor * other.constant_;
      return *this;
    }
    std::vector<Term> terms_;
    double constant_ = 0;
  };

  /// Names are for written models only, and costly for a million columns: without `named` none is kept.
  explicit MipModel(bool named = false) : named_(named) {}

  Column add_column(double lower, double upper, double cost, bool integer, const std::function<std::string()>& name);
  Column add_binary(const std::function<std::string()>& name) { return add_column(0, 1, 0, true, name); }
  /// Terms of one column are added up; columns whose terms cancel are left out.
  void add_row(std::vector<Term> terms, double lower, double upper);
  /// Sorted by column, each column once, none with coefficient 0.
  [[nodiscard]] static std::vector<Term> merged(std::vector<Term> terms);
  /// left <= right. A row that the bounds of its columns fulfil alone is left out.
  void add_at_most(const Expression& left, const Expression& right);
  /// left = right.
  void add_equal(const Expression& left, const Expression& right);
  void set_cost(Column column, double cost) { cost_[column] = cost; }
  /// A known solution to begin with: a value per column, or nothing.
  void set_start(std::vector<double> values) { start_ = std::move(values); }

  [[nodiscard]] std::size_t column_count() const { return cost_.size(); }
  [[nodiscard]] std::size_t row_count() const { return row_lower_.size(); }
  [[nodiscard]] std::size_t nonzero_count() const { return coefficients_.size(); }
  [[nodiscard]] const std::vector<double>& costs() const { return cost_; }
  [[nodiscard]] const std::vector<double>& lower() const { return lower_; }
  [[nodiscard]] const std::vector<double>& upper() const { return upper_; }
  [[nodiscard]] bool is_integer(Column column) const { return integer_[column] != 0; }
  [[nodiscard]] const std::vector<double>& row_lower() const { return row_lower_; }
  [[nodiscard]] const std::vector<double>& row_upper() const { return row_upper_; }
  /// Row r holds the entries [row_starts()[r], row_starts()[r + 1]) of columns() and coefficients().
  [[nodiscard]] const std::vector<std::size_t>& row_starts() const { return row_starts_; }
  [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }
  [[nodiscard]] const std::vector<double>& coefficients() const { return coefficients_; }
  [[nodiscard]] const std::vector<double>& start() const { return start_; }
  /// By column; empty unless the model is named.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

  [[nodiscard]] double objective(std::span<const double> values) const;
  /// The first bound, integrality or row that the values break by more than rounding explains; empty if none.
  [[nodiscard]] std::string violation(std::span<const double> values) const;
  /// What is wrong with the model itself (a bound that is not a number, crossed bounds, ...); empty if nothing.
  [[nodiscard]] std::string defect() const;

 private:
  bool named_;
  std::vector<double> cost_;
  std::vector<double> lower_;
  std::vector<double> upper_;
  std::vector<std::uint8_t> integer_;
  std::vector<std::string> names_;
  std::vector<double> row_lower_;
  std::vector<double> row_upper_;
  std::vector<std::size_t> row_starts_ = {0};
  std::vector<Column> columns_;
  std::vector<double> coefficients_;
  std::vector<double> start_;
};

}  // namespace opweave::exact
