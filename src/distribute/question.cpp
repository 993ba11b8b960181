#include "distribute/question.h"

#include "io/message.h"
#include "opweave/error.h"

namespace opweave::distribute {

std::unique_ptr<Question> read_question(const Json& question) {
  const auto kind = question.at("kind").get<std::string>();
  if (kind == "sweep") return read_sweep_question(question);
  if (kind == "strategies") return read_strategy_question(question);
  if (kind == "plan") return read_plan_question(question);
  throw InputError("kind of question is " + io::text_in_quotes(kind) + ", expected sweep, strategies or plan");
}

}  // namespace opweave::distribute
