/// Integer programs that every engine can be given.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "exact/engine.h"

namespace opweave::exact::testing {

/// Minimise cost . x over integers within bounds and rows, in terms that both kinds of model share.
struct LinearProgram {
  struct Row {
    std::vector<std::int64_t> coefficients;  // by variable
    std::int64_t lower;
    std::int64_t upper;
  };
  std::vector<std::int64_t> lower;
  std::vector<std::int64_t> upper;
  std::vector<std::int64_t> cost;
  std::vector<Row> rows;
  std::vector<std::int64_t> start;
};

inline std::shared_ptr<const MipModel> model_of(const LinearProgram& program, const MipModel*) {
  auto model = std::make_shared<MipModel>();
  for (std::size_t v = 0; v < program.cost.size(); ++v) {
    model->add_column(static_cast<double>(program.lower[v]), static_cast<double>(program.upper[v]),
                      static_cast<double>(program.cost[v]), true, {});
  }
  for (const LinearProgram::Row& row : program.rows) {
    std::vector<MipModel::Term> terms;
    for (std::size_t v = 0; v < row.coefficients.size(); ++v) {
      terms.push_back({static_cast<MipModel::Column>(v), static_cast<double>(row.coefficients[v])});
    }
    model->add_row(std::move(terms), static_cast<double>(row.lower), static_cast<double>(row.upper));
  }
  model->set_start({program.start.begin(), program.start.end()});
  return model;
}

inline std::shared_ptr<const CpModel> model_of(const LinearProgram& program, const CpModel*) {
  auto model = std::make_shared<CpModel>();
  std::vector<CpModel::Term> objective;
  for (std::size_t v = 0; v < program.cost.size(); ++v) {
    const CpModel::Variable variable = model->add_variable(program.lower[v], program.upper[v]);
    if (!program.start.empty()) model->hint(variable, program.start[v]);
    if (program.cost[v] != 0) objective.push_back({variable, program.cost[v]});
  }
  for (const LinearProgram::Row& row : program.rows) {
    std::vector<CpModel::Term> terms;
    for (std::size_t v = 0; v < row.coefficients.size(); ++v) {
      if (row.coefficients[v] != 0) terms.push_back({static_cast<CpModel::Variable>(v), row.coefficients[v]});
    }
    model->add_linear(std::move(terms), row.lower, row.upper);
  }
  model->minimise(std::move(objective));
  return model;
}

/// 3 kinds of items of value 5, 4, 3 and weights (2, 3, 1), (4, 1, 2), (3, 4, 2), at most 5, 11 and 8 of weight:
/// the textbook program whose best integer value is 13, at (2, 0, 1): weights 5, 10, 8.
inline LinearProgram textbook() {
  LinearProgram program;
  program.lower = {0, 0, 0};
  program.upper = {100, 100, 100};
  program.cost = {-5, -4, -3};
  program.rows = {{{2, 3, 1}, 0, 5}, {{4, 1, 2}, 0, 11}, {{3, 4, 2}, 0, 8}};
  return program;
}

/// Market split (Cornuejols and Dawande 1998): the last variables, two per row, make up for what a choice of the
/// first misses. Choosing nothing is a solution; the best takes branch-and-bound hours from 40 variables on.
inline LinearProgram market_split(std::size_t row_count, std::uint64_t seed) {
  const std::size_t choices = 10 * (row_count - 1);
  LinearProgram program;
  program.lower.assign(choices + 2 * row_count, 0);
  program.upper.assign(choices, 1);
  program.upper.resize(choices + 2 * row_count, 100000);
  program.cost.assign(choices, 0);
  program.cost.resize(choices + 2 * row_count, 1);
  std::mt19937_64 random(seed);
  for (std::size_t r = 0; r < row_count; ++r) {
    LinearProgram::Row row;
    row.coefficients.assign(choices + 2 * row_count, 0);
    std::int64_t sum = 0;
    for (std::size_t v = 0; v < choices; ++v) {
      row.coefficients[v] = static_cast<std::int64_t>(random() % 100);
      sum += row.coefficients[v];
    }
    row.coefficients[choices + 2 * r] = 1;
    row.coefficients[choices + 2 * r + 1] = -1;
    row.lower = row.upper = sum / 2;
    program.rows.push_back(std::move(row));
  }
  return program;
}

/// Choosing nothing: every row is missed by its whole right-hand side.
inline std::vector<std::int64_t> empty_market(const LinearProgram& program) {
  std::vector<std::int64_t> values(program.cost.size(), 0);
  const std::size_t choices = values.size() - 2 * program.rows.size();
  for (std::size_t r = 0; r < program.rows.size(); ++r) values[choices + 2 * r] = program.rows[r].lower;
  return values;
}

}  // namespace opweave::exact::testing
