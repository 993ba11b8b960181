#include "exact/cp_sat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

namespace opweave::exact {
namespace {

// Field numbers from the descriptors in OR-Tools 9.15's Python package (ortools.sat.cp_model_pb2,
// sat_parameters_pb2).
namespace model_field {
constexpr protozero::pbf_tag_type kVariables = 2;
constexpr protozero::pbf_tag_type kConstraints = 3;
constexpr protozero::pbf_tag_type kObjective = 4;
constexpr protozero::pbf_tag_type kSolutionHint = 6;
}  // namespace model_field
namespace variable_field {
constexpr protozero::pbf_tag_type kDomain = 2;
}
namespace constraint_field {
constexpr protozero::pbf_tag_type kEnforcementLiteral = 2;
constexpr protozero::pbf_tag_type kBoolOr = 3;
constexpr protozero::pbf_tag_type kLinear = 12;
constexpr protozero::pbf_tag_type kInterval = 19;
constexpr protozero::pbf_tag_type kNoOverlap = 20;
constexpr protozero::pbf_tag_type kCumulative = 22;
constexpr protozero::pbf_tag_type kAtMostOne = 26;
constexpr protozero::pbf_tag_type kExactlyOne = 29;
}  // namespace constraint_field
namespace expression_field {  // of LinearExpressionProto, LinearConstraintProto, PartialVariableAssignment
constexpr protozero::pbf_tag_type kVars = 1;
constexpr protozero::pbf_tag_type kCoeffs = 2;
constexpr protozero::pbf_tag_type kOffset = 3;  // or domain, in a linear constraint
}  // namespace expression_field
namespace objective_field {
constexpr protozero::pbf_tag_type kVars = 1;
constexpr protozero::pbf_tag_type kCoeffs = 4;
}  // namespace objective_field
namespace interval_field {
constexpr protozero::pbf_tag_type kStart = 4;
constexpr protozero::pbf_tag_type kEnd = 5;
constexpr protozero::pbf_tag_type kSize = 6;
}  // namespace interval_field
namespace cumulative_field {
constexpr protozero::pbf_tag_type kCapacity = 1;
constexpr protozero::pbf_tag_type kIntervals = 2;
constexpr protozero::pbf_tag_type kDemands = 3;
}  // namespace cumulative_field
namespace parameter_field {
constexpr protozero::pbf_tag_type kRandomSeed = 31;
constexpr protozero::pbf_tag_type kMaxTimeInSeconds = 36;
constexpr protozero::pbf_tag_type kMaxDeterministicTime = 67;
constexpr protozero::pbf_tag_type kCatchSigintSignal = 135;
constexpr protozero::pbf_tag_type kInterleaveSearch = 136;
constexpr protozero::pbf_tag_type kNumWorkers = 206;
}  // namespace parameter_field
namespace response_field {
constexpr protozero::pbf_tag_type kStatus = 1;
constexpr protozero::pbf_tag_type kSolution = 2;
constexpr protozero::pbf_tag_type kSolutionInfo = 20;
constexpr protozero::pbf_tag_type kInnerObjectiveLowerBound = 29;
}  // namespace response_field
enum ResponseStatus { kUnknown = 0, kModelInvalid = 1, kFeasible = 2, kInfeasible = 3, kOptimal = 4 };

void write_expression(protozero::pbf_writer& parent, protozero::pbf_tag_type tag, const CpModel::Affine& affine) {
  protozero::pbf_writer message(parent, tag);
  if (affine.variable) {
    const std::int64_t one = 1;
    message.add_packed_int32(expression_field::kVars, &*affine.variable, &*affine.variable + 1);
    message.add_packed_int64(expression_field::kCoeffs, &one, &one + 1);
  }
  // Even if it is 0: the writer drops empty messages, and CP-SAT wants to see the expression.
  message.add_int64(expression_field::kOffset, affine.offset);
}

void write_terms(protozero::pbf_writer& message, const std::vector<CpModel::Term>& terms, protozero::pbf_tag_type vars,
                 protozero::pbf_tag_type coeffs) {
  std::vector<std::int32_t> variables;
  std::vector<std::int64_t> coefficients;
  for (const CpModel::Term& term : terms) {
    variables.push_back(term.variable);
    coefficients.push_back(term.coefficient);
  }
  message.add_packed_int32(vars, variables.begin(), variables.end());
  message.add_packed_int64(coeffs, coefficients.begin(), coefficients.end());
}

std::vector<std::int32_t> codes(const std::vector<CpModel::Literal>& literals) {
  std::vector<std::int32_t> result;
  for (const CpModel::Literal literal : literals) result.push_back(literal.code());
  return result;
}

class ModelWriter {
 public:
  explicit ModelWriter(const CpModel& model) : model_(model), root_(data_) {}

  std::string write() {
    for (const CpModel::Domain& domain : model_.domains()) {
      protozero::pbf_writer variable(root_, model_field::kVariables);
      const std::int64_t bounds[] = {domain.lower, domain.upper};
      variable.add_packed_int64(variable_field::kDomain, std::begin(bounds), std::end(bounds));
    }
    // Intervals first: other constraints name them by their position among the constraints.
    for (const CpModel::IntervalParts& parts : model_.intervals()) write(parts);
    for (const CpModel::Linear& linear : model_.linears()) write(linear);
    for (const CpModel::Choice& choice : model_.choices()) write(choice);
    for (const CpModel::NoOverlap& constraint : model_.no_overlaps()) {
      protozero::pbf_writer message(root_, model_field::kConstraints);
      protozero::pbf_writer body(message, constraint_field::kNoOverlap);
      body.add_packed_int32(1, constraint.intervals.begin(), constraint.intervals.end());
    }
    for (const CpModel::Cumulative& constraint : model_.cumulatives()) write(constraint);
    if (!model_.objective_terms().empty()) {
      protozero::pbf_writer objective(root_, model_field::kObjective);
      write_terms(objective, model_.objective_terms(), objective_field::kVars, objective_field::kCoeffs);
    }
    write_hints();
    return std::move(data_);
  }

 private:
  void write(const CpModel::IntervalParts& parts) {
    protozero::pbf_writer message(root_, model_field::kConstraints);
    if (parts.is_present) {
      const std::int32_t literal = parts.is_present->code();
      message.add_packed_int32(constraint_field::kEnforcementLiteral, &literal, &literal + 1);
    }
    protozero::pbf_writer body(message, constraint_field::kInterval);
    write_expression(body, interval_field::kStart, parts.start);
    write_expression(body, interval_field::kEnd, parts.end);
    write_expression(body, interval_field::kSize, parts.size);
  }

  void write(const CpModel::Linear& linear) {
    protozero::pbf_writer message(root_, model_field::kConstraints);
    const std::vector<std::int32_t> when = codes(linear.when);
    message.add_packed_int32(constraint_field::kEnforcementLiteral, when.begin(), when.end());
    protozero::pbf_writer body(message, constraint_field::kLinear);
    write_terms(body, linear.terms, expression_field::kVars, expression_field::kCoeffs);
    const std::int64_t domain[] = {linear.lower, linear.upper};
    body.add_packed_int64(expression_field::kOffset, std::begin(domain), std::end(domain));
  }

  void write(const CpModel::Choice& choice) {
    protozero::pbf_writer message(root_, model_field::kConstraints);
    const auto tag = [&] {
      switch (choice.kind) {
        case CpModel::Choice::Kind::kAtMostOne:
          return constraint_field::kAtMostOne;
        case CpModel::Choice::Kind::kExactlyOne:
          return constraint_field::kExactlyOne;
        default:
          return constraint_field::kBoolOr;
      }
    }();
    protozero::pbf_writer body(message, tag);
    const std::vector<std::int32_t> literals = codes(choice.literals);
    body.add_packed_int32(1, literals.begin(), literals.end());
  }

  void write(const CpModel::Cumulative& constraint) {
    protozero::pbf_writer message(root_, model_field::kConstraints);
    protozero::pbf_writer body(message, constraint_field::kCumulative);
    write_expression(body, cumulative_field::kCapacity, {std::nullopt, constraint.capacity});
    body.add_packed_int32(cumulative_field::kIntervals, constraint.intervals.begin(), constraint.intervals.end());
    for (const std::int64_t demand : constraint.demands) {
      write_expression(body, cumulative_field::kDemands, {std::nullopt, demand});
    }
  }

  void write_hints() {
    std::vector<std::int32_t> variables;
    std::vector<std::int64_t> values;
    for (std::size_t v = 0; v < model_.hints().size(); ++v) {
      if (!model_.hints()[v]) continue;
      variables.push_back(static_cast<std::int32_t>(v));
      values.push_back(*model_.hints()[v]);
    }
    if (variables.empty()) return;
    protozero::pbf_writer hint(root_, model_field::kSolutionHint);
    hint.add_packed_int32(expression_field::kVars, variables.begin(), variables.end());
    hint.add_packed_int64(expression_field::kCoeffs, values.begin(), values.end());
  }

  const CpModel& model_;
  std::string data_;
  protozero::pbf_writer root_;
};

}  // namespace

std::string cp_sat_model(const CpModel& model) { return ModelWriter(model).write(); }

std::string cp_sat_parameters(const EngineLimits& limits) {
  std::string data;
  protozero::pbf_writer parameters(data);
  parameters.add_int32(parameter_field::kRandomSeed, static_cast<std::int32_t>(limits.seed % 2147483647U));
  parameters.add_int32(parameter_field::kNumWorkers, static_cast<std::int32_t>(std::max(1U, limits.threads)));
  parameters.add_bool(parameter_field::kCatchSigintSignal, false);  // signals are the planner's
  if (limits.takes_turns || (limits.deterministic && limits.threads > 1)) {
    parameters.add_bool(parameter_field::kInterleaveSearch, true);
  }
  if (limits.seconds) parameters.add_double(parameter_field::kMaxTimeInSeconds, std::max(0.0, *limits.seconds));
  if (limits.work) parameters.add_double(parameter_field::kMaxDeterministicTime, std::max(0.0, *limits.work));
  return data;
}

Claim<CpModel> read_cp_sat_response(const CpModel& model, std::string_view response) {
  Claim<CpModel> claim;
  protozero::pbf_reader reader(response.data(), response.size());
  std::int32_t status = kUnknown;
  std::int64_t bound = 0;  // proto3: a field that is 0 is not sent
  std::string info;
  while (reader.next()) {
    switch (reader.tag()) {
      case response_field::kStatus:
        status = reader.get_enum();
        break;
      case response_field::kSolution:
        for (const std::int64_t value : reader.get_packed_int64()) claim.values.push_back(value);
        break;
      case response_field::kInnerObjectiveLowerBound:
        bound = reader.get_int64();
        break;
      case response_field::kSolutionInfo:
        info = reader.get_string();
        break;
      default:
        reader.skip();
    }
  }
  switch (status) {
    case kOptimal:
      claim.status = EngineStatus::kOptimal;
      break;
    case kFeasible:
      claim.status = EngineStatus::kFeasible;
      break;
    case kInfeasible:
      claim.status = EngineStatus::kInfeasible;
      break;
    case kModelInvalid:
      claim.status = EngineStatus::kInvalidModel;
      claim.message = "CP-SAT: " + info;
      break;
    default:
      claim.status = EngineStatus::kUnknown;
      break;
  }
  const bool has_values = claim.values.size() == model.domains().size();
  if (has_values) claim.objective = model.objective(claim.values);
  // A run that ended before its first bound says nothing; its default of 0 must not be taken for one.
  const bool says_bound = status == kFeasible || status == kOptimal || (status == kUnknown && bound > 0);
  if (says_bound && !model.objective_terms().empty()) claim.bound = bound;
  return claim;
}

}  // namespace opweave::exact
