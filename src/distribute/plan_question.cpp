// A search of a portfolio, on its worker.
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include "distribute/plan_parts.h"
#include "distribute/question.h"
#include "exact/model_file.h"
#include "exact/solve.h"
#include "opweave/error.h"
#include "opweave/exchange.h"
#include "opweave/io.h"

namespace opweave::distribute {
namespace {

constexpr auto kPause = std::chrono::milliseconds(100);

/// Tells of plans and bounds that nobody knew: from a thread of its own, as writing a large plan takes longer than the
/// search should wait, and of the last one alone where they come quickly.
class Teller {
 public:
  Teller(const Problem& problem, const std::function<void(const Json&)>& found)
      : problem_(problem), found_(found), thread_([this] { run(); }) {}
  Teller(const Teller&) = delete;
  Teller& operator=(const Teller&) = delete;
  ~Teller() {
    is_over_ = true;
    thread_.join();
  }

  void see(const Progress& progress) {
    const std::scoped_lock lock(mutex_);
    if (progress.schedule != nullptr && *progress.makespan < best_) {
      best_ = *progress.makespan;
      schedule_ = *progress.schedule;
      method_ = progress.method;
    }
    if (!progress.bounds.empty() && progress.bounds.front().value > bound_) {
      bound_ = progress.bounds.front().value;
      new_bound_ = progress.bounds.front();
    }
  }
  /// Others have a plan as good as this.
  void know(Duration makespan) {
    const std::scoped_lock lock(mutex_);
    best_ = std::min(best_, makespan);
  }
  void know_bound(Duration bound) {
    const std::scoped_lock lock(mutex_);
    bound_ = std::max(bound_, bound);
  }

 private:
  void run() {
    while (!is_over_) {
      std::this_thread::sleep_for(kPause);
      std::optional<Schedule> schedule;
      std::optional<LowerBound> bound;
      std::string method;
      {
        const std::scoped_lock lock(mutex_);
        schedule = std::exchange(schedule_, std::nullopt);
        bound = std::exchange(new_bound_, std::nullopt);
        method = method_;
      }
      Json news = Json::object();
      if (schedule) news["plan"] = plan_text(problem_, *schedule, method);
      if (bound) news["bound"] = to_json(*bound);
      if (!news.empty()) found_(news);
    }
  }

  const Problem& problem_;
  const std::function<void(const Json&)>& found_;
  std::mutex mutex_;
  Duration best_{std::numeric_limits<std::int64_t>::max()};
  Duration bound_;
  std::optional<Schedule> schedule_;
  std::optional<LowerBound> new_bound_;
  std::string method_;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

class PortfolioSearch final : public Question {
 public:
  explicit PortfolioSearch(const Json& value) : start_(read(value)) {}

  [[nodiscard]] std::string hash() const override { return hash_of(start_.problem); }

  void hear(const Json& news) override {
    const std::scoped_lock lock(mutex_);
    if (news.contains("plan")) {
      const Plan plan = plan_from(start_.problem, news["plan"].get<std::string>());
      if (teller_ != nullptr) teller_->know(plan.statistics.makespan);
      exchange_->offer(to_schedule(start_.problem, plan), plan.provenance.method);
    }
    if (news.contains("bound")) {
      const LowerBound bound = bound_from(news["bound"]);
      if (teller_ != nullptr) teller_->know_bound(bound.value);
      exchange_->raise_bound(bound);
    }
  }

  [[nodiscard]] Json answer(const Json& task, const std::function<void(const Json&)>& found,
                            const std::atomic<bool>& stop) override {
    const Problem& problem = start_.problem;
    PlannerOptions options;
    options.seed = task.at("seed").get<std::uint64_t>();
    options.threads = task.at("threads").get<unsigned>();
    options.method = method_from_string(task.at("method").get<std::string>()).value();
    options.warm_start = start_.warm_start;
    // A complete program is for problems that it can hold.
    exact::ExactOptions program;
    program.method = exact::ExactMethod::kConstraintProgram;
    if (task.at("is_choice").get<bool>() && options.method == Method::kCp &&
        !exact::too_many_choices(problem, program).empty()) {
      options.method = Method::kAuto;
    }
    const auto number = [&](const char* key) -> std::optional<double> {
      return task.contains(key) ? std::optional(task[key].get<double>()) : std::nullopt;
    };
    std::optional<std::uint64_t> work;
    if (task.contains("work")) work = task["work"].get<std::uint64_t>();
    Budget budget(number("seconds"), work);
    budget.watch(&stop);
    std::optional<Teller> teller;
    if (task.at("shares").get<bool>()) {
      teller.emplace(problem, found);
      options.on_progress = [&](const Progress& progress) { teller->see(progress); };
      const std::scoped_lock lock(mutex_);
      teller_ = &*teller;
    }
    const PlanResult result = plan(problem, budget, options, teller ? exchange_ : nullptr);
    {
      const std::scoped_lock lock(mutex_);
      teller_ = nullptr;
    }
    teller.reset();
    return result_to_json(problem, result);
  }

 private:
  struct Start {
    Problem problem;
    std::optional<Schedule> warm_start;
  };
  static Start read(const Json& value) {
    ComputationGraph graph = parse_graph(value.at("graph").get<std::string>(), "graph");
    Cluster cluster = parse_cluster(value.at("cluster").get<std::string>(), "cluster");
    const Plan plan = parse_plan(value.at("plan").get<std::string>(), "plan", graph, cluster);
    Start start{Problem::create(std::move(graph), std::move(cluster), plan.settings), std::nullopt};
    if (!plan.tasks.empty()) start.warm_start = to_schedule(start.problem, plan);
    return start;
  }

  const Start start_;
  const std::shared_ptr<Exchange> exchange_ = std::make_shared<Exchange>();
  std::mutex mutex_;
  Teller* teller_ = nullptr;
};

}  // namespace

std::unique_ptr<Question> read_plan_question(const Json& question) {
  return std::make_unique<PortfolioSearch>(question);
}

}  // namespace opweave::distribute
