#include "exact/mip_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace opweave::exact {
namespace {

// Ten times the feasibility tolerance of common solvers, and a share of the row's size: sums of large
// terms are not exact in floating point.
constexpr double kTolerance = 1e-5;
constexpr double kRelativeTolerance = 1e-9;

}  // namespace

MipModel::Column MipModel::add_column(double lower, double upper, double cost, bool integer,
                                      const std::function<std::string()>& name) {
  lower_.push_back(lower);
  upper_.push_back(upper);
  cost_.push_back(cost);
  integer_.push_back(integer ? 1 : 0);
  if (named_) names_.push_back(name());
  return static_cast<Column>(cost_.size() - 1);
}

std::vector<MipModel::Term> MipModel::merged(std::vector<Term> terms) {
  std::sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) { return a.column < b.column; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < terms.size();) {
    Term sum{terms[i].column, 0};
    for (; i < terms.size() && terms[i].column == sum.column; ++i) sum.coefficient += terms[i].coefficient;
    if (sum.coefficient != 0) terms[kept++] = sum;
  }
  terms.resize(kept);
  return terms;
}

void MipModel::add_row(std::vector<Term> terms, double lower, double upper) {
  for (const Term& term : merged(std::move(terms))) {
    columns_.push_back(term.column);
    coefficients_.push_back(term.coefficient);
  }
  row_lower_.push_back(lower);
  row_upper_.push_back(upper);
  row_starts_.push_back(columns_.size());
}

void MipModel::add_at_most(const Expression& left, const Expression& right) {
  const Expression difference = left - right;
  std::vector<Term> terms = merged(difference.terms());
  double highest = difference.constant();
  for (const Term& term : terms) {
    highest += term.coefficient * (term.coefficient > 0 ? upper_ : lower_)[term.column];
  }
  if (highest <= 0) return;
  add_row(std::move(terms), -kInfinity, -difference.constant());
}

void MipModel::add_equal(const Expression& left, const Expression& right) {
  const Expression difference = left - right;
  if (difference.is_constant() && difference.constant() == 0) return;
  add_row(difference.terms(), -difference.constant(), -difference.constant());
}

double MipModel::objective(std::span<const double> values) const {
  double sum = 0;
  for (std::size_t c = 0; c < cost_.size(); ++c) sum += cost_[c] * values[c];
  return sum;
}

std::string MipModel::violation(std::span<const double> values) const {
  if (values.size() != column_count()) return fmt::format("{} values for {} columns", values.size(), column_count());
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (!std::isfinite(values[c])) return fmt::format("column {} is {}", c, values[c]);
    const double slack = kTolerance + kRelativeTolerance * std::abs(values[c]);
    if (values[c] < lower_[c] - slack || values[c] > upper_[c] + slack) {
      return fmt::format("column {} is {}, expected {} to {}", c, values[c], lower_[c], upper_[c]);
    }
    if (integer_[c] != 0 && std::abs(values[c] - std::round(values[c])) > slack) {
      return fmt::format("column {} is {}, expected an integer", c, values[c]);
    }
  }
  for (std::size_t r = 0; r < row_count(); ++r) {
    double sum = 0;
    double size = 0;
    for (std::size_t i = row_starts_[r]; i < row_starts_[r + 1]; ++i) {
      const double term = coefficients_[i] * values[columns_[i]];
      sum += term;
      // A binary within its tolerance still moves the row by the tolerance times the coefficient.
      size += std::abs(term) + (integer_[columns_[i]] != 0 ? std::abs(coefficients_[i]) * 1e3 : 0.0);
    }
    const double slack = kTolerance + kRelativeTolerance * size;
    if (sum < row_lower_[r] - slack || sum > row_upper_[r] + slack) {
      return fmt::format("row {} is {}, expected {} to {}", r, sum, row_lower_[r], row_upper_[r]);
    }
  }
  return {};
}

std::string MipModel::defect() const {
  for (std::size_t c = 0; c < column_count(); ++c) {
    if (!std::isfinite(cost_[c])) return fmt::format("cost of column {} is {}", c, cost_[c]);
    if (std::isnan(lower_[c]) || std::isnan(upper_[c]) || lower_[c] > upper_[c]) {
      return fmt::format("bounds of column {} are {} and {}", c, lower_[c], upper_[c]);
    }
  }
  for (std::size_t r = 0; r < row_count(); ++r) {
    if (std::isnan(row_lower_[r]) || std::isnan(row_upper_[r]) || row_lower_[r] > row_upper_[r]) {
      return fmt::format("bounds of row {} are {} and {}", r, row_lower_[r], row_upper_[r]);
    }
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] >= column_count()) {
      return fmt::format("entry {} names column {} of {}", i, columns_[i], column_count());
    }
    if (!std::isfinite(coefficients_[i])) return fmt::format("coefficient {} is {}", i, coefficients_[i]);
  }
  if (!start_.empty() && start_.size() != column_count()) {
    return fmt::format("start has {} values for {} columns", start_.size(), column_count());
  }
  return {};
}

}  // namespace opweave::exact
