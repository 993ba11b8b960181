/// The narrow interface behind which solvers live, and the only way to run one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exact/cp_model.h"
#include "exact/mip_model.h"

namespace opweave::exact {

/// How long and how an engine works.
struct EngineLimits {
  std::optional<double> seconds;
  /// Repeatable limit in units of the engine: CP-SAT's deterministic seconds; thousands of tree nodes for HiGHS.
  std::optional<double> work;
  unsigned threads = 1;
  std::uint64_t seed = 1;
  /// The same answer on every run whatever the machine's speed; without it several threads race.
  bool deterministic = false;
  /// CP-SAT's search strategies take turns, on one thread too: slower to begin with, better at proofs.
  bool takes_turns = false;
};

/// What an engine says of a model.
enum class EngineStatus : std::uint8_t {
  kOptimal,       ///< `values` are best
  kFeasible,      ///< `values` are a solution; a limit was reached first
  kInfeasible,    ///< there is no solution
  kUnbounded,     ///< there is no best solution
  kUnknown,       ///< a limit was reached without a solution
  kInvalidModel,  ///< the model makes no sense; `message` says why
  kUnavailable,   ///< the solver's library is not there; `message` says what was looked for
  kFailed,        ///< the engine broke down, or answered nonsense; `message` says how
};
/// "optimal", "feasible", ...
[[nodiscard]] std::string_view to_string(EngineStatus status);

/// What an engine answers. A claim: `run` has compared values with the model and objective with
/// values, but infeasibility, optimality and the bound rest on the engine's word.
template <class Model>
struct Claim {
  using Value = typename Model::Value;

  EngineStatus status = EngineStatus::kUnknown;
  std::vector<Value> values;   ///< by column or variable; empty without a solution
  Value objective{};           ///< of `values`
  std::optional<Value> bound;  ///< no solution is below
  std::string message;
  bool abandoned = false;  ///< the engine ignored its limit and was left behind

  [[nodiscard]] bool has_solution() const { return !values.empty() || status == EngineStatus::kOptimal; }
};

/// Line between an engine at work and its caller. Thread-safe; outlives both ends.
template <class Model>
class EngineRun {
 public:
  using Value = typename Model::Value;

  /// The engine should return what it has.
  [[nodiscard]] bool stop_requested() const;
  /// Calls `interrupt` once, from another thread, when the engine should stop; at once if it should
  /// already. Returns when a running call has ended, so an engine that passes nullptr may then destroy
  /// what the call uses.
  void on_stop(std::function<void()> interrupt);
  /// Reports a solution better than those before. Copies the values; cheap enough for every improvement.
  void improved(std::vector<Value> values);
  /// Reports that no solution is below `bound`.
  void bounded(Value bound);

  /// The caller's end of the line.
  void request_stop();
  struct News {
    std::vector<Value> values;  ///< last solution reported since the last call, if any
    std::optional<Value> bound;
  };
  [[nodiscard]] News take_news();

 private:
  mutable std::mutex mutex_;
  bool stop_ = false;
  std::function<void()> interrupt_;
  News news_;
};

/// A solver. Stateless: one object may run in many threads.
template <class Model>
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// "HiGHS 1.15.1"; "HiGHS" where the library is not there.
  [[nodiscard]] virtual std::string name() const = 0;
  /// Why the engine cannot be used (its library is missing, ...); empty if it can.
  [[nodiscard]] virtual std::string unavailable_because() const = 0;
  /// Solves. Runs in a thread of its own and should return soon after the limits or a stop request.
  /// \pre model.defect() is empty.
  [[nodiscard]] virtual Claim<Model> solve(const Model& model, const EngineLimits& limits,
                                           EngineRun<Model>& run) const = 0;
};

using MipEngine = Engine<MipModel>;
using CpEngine = Engine<CpModel>;

/// A solution that is better than those before, on its way. Called from the thread that called `run`.
template <class Model>
using OnImprovement =
    std::function<void(const std::vector<typename Model::Value>& values, typename Model::Value objective)>;

/// Runs an engine in a thread of its own and comes back in time, whatever the engine does: when
/// `should_stop` (asked every few milliseconds) says so or the limit is reached, the engine is asked to
/// stop, and after a grace of `kGraceSeconds` it is left behind; the answer is then the best solution
/// that it has reported. Never throws for what an engine does. Solutions that break the model are not
/// passed on: an answer with one becomes kFailed. A model's start that is a solution is never given up
/// for a worse one.
template <class Model>
[[nodiscard]] Claim<Model> run(const std::shared_ptr<const Engine<Model>>& engine,
                               const std::shared_ptr<const Model>& model, const EngineLimits& limits,
                               const std::function<bool()>& should_stop = {},
                               const OnImprovement<Model>& on_improvement = {});

inline constexpr double kGraceSeconds = 0.3;

/// Why a claim cannot be true of the model; empty if nothing speaks against it.
template <class Model>
[[nodiscard]] std::string objection(const Model& model, const Claim<Model>& claim);

/// HiGHS through its C interface, loaded at run time.
[[nodiscard]] std::shared_ptr<const MipEngine> highs_engine();
/// CP-SAT through the C interface of OR-Tools' library, loaded at run time.
[[nodiscard]] std::shared_ptr<const CpEngine> cp_sat_engine();

/// Which solver's library is not there, how to name one, and what plans lack without it; empty if all are there. Looks
/// at files only: nothing is loaded.
[[nodiscard]] std::string missing_solver();

/// Writes the model to a file; its ending chooses the format (".mps" or ".lp"). Uses HiGHS's writer.
/// \return why it was not written; empty if it was.
[[nodiscard]] std::string write_model(const MipModel& model, const std::string& path);

}  // namespace opweave::exact
