#include "src/replay.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "ivory/error.hpp"
#include "src/content_hash.hpp"
#include "src/float16.hpp"
#include "src/logged_scenario.hpp"
#include "src/resume_check.hpp"
#include "src/run.hpp"
#include "src/state_hash.hpp"

namespace ivory {
namespace {

// What a log says about its rounds, and about the visits of one client.
struct Logged {
  LogHeader header;
  std::vector<std::uint64_t> hashes;              // by round, as what follows
  std::vector<double> status, train_loss, steps;  // of the client

  std::uint64_t hash(int round) const { return hashes.at(static_cast<std::size_t>(round - 1)); }
  bool trained(int round) const { return status[static_cast<std::size_t>(round - 1)] == 1; }
  /// The client's last accepted visit before `round`; 0: none.
  int visit_before(int round) const {
    for (int r = round - 1; r > 0; --r) {
      if (trained(r)) return r;
    }
    return 0;
  }
};

// "1, 4, 7 ... (12 rounds)" of the rounds in which the client took part.
std::string rounds_of(const Logged& logged) {
  constexpr std::size_t most = 8;
  std::vector<int> rounds;
  for (std::size_t r = 0; r < logged.status.size(); ++r) {
    if (logged.status[r] != 0) rounds.push_back(static_cast<int>(r) + 1);
  }
  if (rounds.empty()) return "none so far";
  const std::size_t all = rounds.size();
  rounds.resize(std::min(all, most));
  return fmt::format("{}{}", fmt::join(rounds, ", "), all > most ? fmt::format(" ... ({} in all)", all) : "");
}

Logged read_logged(const ReplayQuestion& question) {
  const LogReader log(question.log);
  Logged logged;
  logged.header = log.header();
  const LogHeader& header = logged.header;
  const int complete = header.rounds_complete;
  if (question.round < 1 || question.round > complete) {
    throw InputError(fmt::format(
        "[replay] --round must be a round that the log has, {}, got {}, in {}; {}",
        complete == 0 ? std::string("none so far") : fmt::format("1..{}", complete), question.round, header.file,
        header.finished() ? "choose one of them"
                          : "choose one of them, or let the run go on (ivory run --resume LOG)"));
  }
  if (question.client >= header.clients) {
    throw InputError(
        fmt::format("[replay] --client must be a client of the run, 0..{}, got {}, in {}; ivory inspect LOG "
                    "says how many there are",
                    header.clients - 1, question.client, header.file));
  }
  const auto own = [&](std::string_view name) {
    const std::vector<double> all = log.client_history(name);
    std::vector<double> column;
    for (std::size_t at = question.client; at < all.size(); at += header.clients) column.push_back(all[at]);
    return column;
  };
  logged.hashes = log.state_hashes();
  logged.status = own("participation");
  logged.train_loss = own("train_loss");
  logged.steps = own("steps");
  if (logged.status[static_cast<std::size_t>(question.round - 1)] == 0) {
    throw InputError(
        fmt::format("[replay] the client must have taken part in the round, got client {}, absent in round {}, in {}; "
                    "rounds with a visit of it: {}",
                    question.client, question.round, header.file, rounds_of(logged)));
  }
  return logged;
}

// What the log has of the state before a visit.
struct LoggedState {
  std::vector<float> mean, precision;            // of the server; the precision is empty where its state has none
  std::vector<float> site_mean, site_precision;  // of the client; empty: it has none yet
  int last_visit = 0;                            // 0: none
  bool begun = false;                            // some update has been accepted in an earlier round
};

std::optional<std::size_t> row_of(const std::vector<int>& rounds, int round) {
  const auto found = std::find(rounds.begin(), rounds.end(), round);
  if (found == rounds.end()) return {};
  return static_cast<std::size_t>(found - rounds.begin());
}

// Whether the visit reads nothing of the run's state but what a log can have: the server's Gaussian, the initial weights, and the
// client's site (v, V). Empty, or what else it reads. What clients and server remember beside these shows in the traits, and in
// where the terms point.
template <class Real>
std::string what_no_log_has(Run<Real>& run, const ReplayQuestion& question) {
  const AlgorithmTraits& traits = run.parts().traits;
  if (!std::is_same_v<Real, float>) return "the run is in double, and logs are in float32";
  const Options& log = run.scenario().log;
  if (log.text("storage") == "float16") return "its vectors are rounded to float16 (log.storage)";
  if (!log.texts("layers").empty()) return "it has some layers alone (log.layers)";
  if (run.parts().optimizer->kept_vectors(run.parts().visit_plan.keep_state) > 0) {
    return "clients keep optimizer state from visit to visit, which is not in logs";
  }
  const bool remembers = std::max(traits.vectors_per_client, traits.vectors_per_client_partial) > 0 ||
                         std::max(traits.matrices_per_client, traits.matrices_per_client_partial) > 0;
  if ((remembers && !traits.has_sites()) || traits.personal || traits.uses_public_pool) {
    return "the method remembers more of its clients than logs have";
  }
  ServerState<Real>& state = run.state();
  const std::uint64_t before = std::exchange(state.round, static_cast<std::uint64_t>(question.round - 1));
  const LocalTerms<Real> terms = run.parts().algorithm->local_terms(state, question.client);
  state.round = before;
  for (const Real* array : {terms.start, terms.anchor_mean, terms.anchor_precision, terms.site_mean,
                            terms.site_precision, terms.common_mean, terms.public_labels}) {
    if (array == nullptr || array == state.start.data() || array == state.mean.data()) continue;
    if (array != state.precision.data()) return "the server sends more than its Gaussian, which is not in logs";
  }
  return "";
}

// The state from the log's own vectors; empty `why` where that can be, else what is missing.
template <class Real>
LoggedState read_state(Run<Real>& run, const ReplayQuestion& question, const Logged& logged, std::string& why) {
  LoggedState found;
  why = what_no_log_has(run, question);
  if (!why.empty()) return found;
  const LogReader log(question.log);
  const auto row = row_of(log.posterior_rounds(), question.round - 1);
  if (!row) {
    why = fmt::format("it lacks the server after round {} (log.posterior_every = 1 keeps all)", question.round - 1);
    return found;
  }
  found.last_visit = run.parts().traits.has_sites() ? logged.visit_before(question.round) : 0;
  if (found.last_visit > 0) {
    const auto site_row = row_of(log.site_rounds(), found.last_visit);
    if (!site_row) {
      why = fmt::format("it lacks the client's site after its visit in round {} (log.sites = \"every\" keeps all)",
                        found.last_visit);
      return found;
    }
    found.site_mean = log.client_vector("site_mean", *site_row, question.client);
    found.site_precision = log.client_vector("site_precision", *site_row, question.client);
  }
  const std::vector<double> participants = log.column("participants");
  const auto before = participants.begin() + (question.round - 1);
  found.begun = std::any_of(participants.begin(), before, [](double accepted) { return accepted > 0; });
  found.mean = log.posterior_mean(*row);
  if (!run.state().precision.empty()) found.precision = log.posterior_precision(*row);
  if (const std::uint64_t hash = hash_posterior<float>(found.mean, found.precision);
      hash != logged.hash(question.round - 1)) {
    throw InputError(
        fmt::format("[replay] the logged server must have the logged hash, {}, got {} after round {}, in {}; the file "
                    "is damaged: take the state from elsewhere (--from start)",
                    hexadecimal(logged.hash(question.round - 1)), hexadecimal(hash), question.round - 1, question.log));
  }
  return found;
}

std::string rounds_again(int first, int last) {
  if (first > last) return "";
  return first == last ? fmt::format("; round {} trained again", first)
                       : fmt::format("; rounds {} to {} trained again", first, last);
}

[[noreturn]] void refuse_source(const ReplayQuestion& question, const std::string& from, const std::string& why) {
  throw InputError(fmt::format(
      "[replay] the state before round {} must be there to be taken from the {}, got none: {}, in {}; leave "
      "--from out",
      question.round, from, why, question.log));
}

// False without a checkpoint that can be used, and `why` says so.
template <class Real>
bool take_checkpoint(Run<Real>& run, const ReplayQuestion& question, const Logged& logged, std::string& why) {
  Checkpoints checkpoints(question.log);
  why = "there is none before the round (a finished run has none)";
  try {
    return run.restore(checkpoints, static_cast<std::uint64_t>(question.round - 1),
                       [&](int round) { return logged.hash(round); });
  } catch (const InputError&) {
    why = "it is of another build of ivory, or another kind of device";
    return false;
  } catch (const RunError& error) {
    throw RunError(
        fmt::format("{}; it is no checkpoint of this log: train from the start (--from start)", error.what()));
  }
}

// Brings the run to where the round begins. Where the state is the log's own, the client's site comes with the answer.
template <class Real>
LoggedState take_state(Run<Real>& run, const ReplayQuestion& question, const Logged& logged, ReplayReport& report) {
  const int before = question.round - 1;
  const auto may = [&](ReplaySource source) {
    return before > 0 && (question.source == ReplaySource::best || question.source == source);
  };
  std::string why;
  if (may(ReplaySource::log) && !question.whole_round) {
    if constexpr (std::is_same_v<Real, float>) {
      LoggedState state = read_state(run, question, logged, why);
      if (why.empty()) {
        run.set_posterior(static_cast<std::uint64_t>(before), state.begun, state.mean, state.precision);
        report.source = fmt::format(
            "the log: the server after round {}{}", before,
            state.last_visit == 0 ? "" : fmt::format(", the client's site after round {}", state.last_visit));
        return state;
      }
    } else {
      why = what_no_log_has(run, question);
    }
    if (question.source == ReplaySource::log) refuse_source(question, "log", why);
    report.notes.push_back("not from the log: " + why);
  }
  report.source = "the start";
  if (may(ReplaySource::checkpoint)) {
    if (take_checkpoint(run, question, logged, why)) {
      report.source = fmt::format("the checkpoint after round {}", run.rounds_done());
    } else if (question.source == ReplaySource::checkpoint) {
      refuse_source(question, "checkpoint", why);
    }
  }
  report.source += rounds_again(static_cast<int>(run.rounds_done()) + 1, before);
  return {};
}

// Trains the next round again and says whether it ends in the logged state.
template <class Real>
bool repeat_round(Run<Real>& run, const ReplayReport& report, const Logged& logged) {
  const RoundRecord record = run.repeat_round();
  const std::uint64_t expected = logged.hash(record.round);
  if (record.state_hash == expected) return true;
  if (report.question.any_device) return false;
  throw RunError(fmt::format(
      "[replay] a round that is trained again must end in the state that was logged, got {} instead of {} in round {}, "
      "in {}; the log was written by ivory {} on {}, this is {} on {}: use that build and machine, or say --any-device",
      hexadecimal(record.state_hash), hexadecimal(expected), record.round, logged.header.file,
      logged.header.ivory_version, logged.header.device, IVORY_VERSION, report.device));
}

bool equal_or_both_nan(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void compare_vectors(const std::string& what, const std::vector<float>& now, const std::vector<float>& logged,
                     ReplayReport& report) {
  if (logged.size() != now.size()) {
    throw InputError(
        fmt::format("[replay] the log must have {} entries of the client's {}, got {}; the file is damaged", now.size(),
                    what, logged.size()));
  }
  std::size_t others = 0;
  double largest = 0;
  bool finite = true;
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (equal_or_both_nan(now[i], logged[i])) continue;
    ++others;
    const double difference = std::abs(static_cast<double>(now[i]) - static_cast<double>(logged[i]));
    finite = finite && std::isfinite(difference);
    largest = std::max(largest, difference);
  }
  if (others == 0) {
    report.same.push_back(what);
  } else {
    report.differences.push_back(
        fmt::format("the {}: {} of {} entries, {}", what, others, now.size(),
                    finite ? fmt::format("by {:.3g} at most", largest) : "some of them not finite"));
  }
}

// With what the log has of the visit: its vectors, where they are logged, and its loss and steps.
// `recorded` is which parameters the log has, `half` whether in float16.
void compare(const ReplayQuestion& question, const Logged& logged, const std::vector<ParameterRange>& recorded,
             bool half, ReplayReport& report) {
  const auto row = static_cast<std::size_t>(question.round - 1);
  const bool was_refused = logged.status[row] == 2;
  if (report.refused != was_refused) {
    report.differences.emplace_back(was_refused ? "the visit was refused then, and is not now"
                                                : "the visit was accepted then, and is refused now");
  }
  const auto number = [&](const std::string& what, double now, double then) {
    if (equal_or_both_nan(static_cast<float>(now), static_cast<float>(then))) {
      report.same.push_back(what);
    } else {
      report.differences.push_back(fmt::format("the {}: {} instead of {}", what, now, then));
    }
  };
  number("train loss", report.train_loss, logged.train_loss[row]);
  number("number of steps", report.steps, logged.steps[row]);
  report.logged_train_loss = logged.train_loss[row];
  if (report.refused || was_refused) return;

  const LogReader log(question.log);
  const auto site_row = row_of(log.site_rounds(), question.round);
  report.vectors_logged = site_row.has_value();
  if (!site_row) return;
  const std::size_t size = logged.header.parameters;
  const auto one = [&](const std::string& name, const std::vector<float>& whole) {
    std::vector<float> now;
    for (const ParameterRange& range : recorded) {
      const auto first = whole.begin() + static_cast<std::ptrdiff_t>(range.begin);
      now.insert(now.end(), first, first + static_cast<std::ptrdiff_t>(range.size));
    }
    if (half) std::transform(now.begin(), now.end(), now.begin(), [](float x) { return value_of_half(half_from(x)); });
    compare_vectors(name, now, log.client_vector(name, *site_row, question.client), report);
  };
  one("mean", {report.mean.begin(), report.mean.end()});
  if (report.precision.empty()) return;
  std::vector<float> diagonal(size);
  const std::size_t step = report.precision.size() > size ? size + 1 : 1;
  for (std::size_t i = 0; i < size; ++i) diagonal[i] = static_cast<float>(report.precision[i * step]);
  one("precision", diagonal);
}

void note_others(const Logged& logged, ReplayReport& report) {
  if (logged.header.ivory_version != IVORY_VERSION) {
    report.notes.push_back(fmt::format("the log was written by ivory {}, this is {}: bits may differ",
                                       logged.header.ivory_version, IVORY_VERSION));
  }
  if (const std::string then = device_kind(logged.header.device), now = device_kind(report.device); then != now) {
    report.notes.push_back(fmt::format("the run was on {}, this is on {}: bits may differ", then, now));
  }
}

template <class Real>
ReplayReport replay_in(const ReplayQuestion& question, const RunSettings& settings, const Scenario& scenario,
                       const Logged& logged) {
  Run<Real> run(scenario, settings);
  const LogPlan plan = run.log_plan();
  check_repeatable("replay", logged.header, plan, question.any_device);
  ReplayReport report;
  report.header = logged.header;
  report.question = question;
  report.device = plan.device;
  report.examples = static_cast<double>(run.parts().examples[question.client].size());
  report.in_double = !std::is_same_v<Real, float>;
  note_others(logged, report);
  const LoggedState from_log = take_state(run, question, logged, report);
  if (const int first = static_cast<int>(run.rounds_done()) + 1; first < question.round && settings.on_note) {
    settings.on_note(fmt::format("trains {} again", first + 1 == question.round
                                                        ? fmt::format("round {}", first)
                                                        : fmt::format("rounds {} to {}", first, question.round - 1)));
  }
  int other_rounds = 0;
  while (run.rounds_done() + 1 < static_cast<std::uint64_t>(question.round)) {
    other_rounds += repeat_round(run, report, logged) ? 0 : 1;
  }
  if (other_rounds > 0) {
    report.notes.push_back(
        fmt::format("rounds trained again that ended in another state than the log's: {}", other_rounds));
  }

  StepWatch<Real> watch(0, question.every, [&](const StepReport& step) { report.reports.push_back(step); });
  const std::vector<Real> site_mean(from_log.site_mean.begin(), from_log.site_mean.end());
  const std::vector<Real> site_precision(from_log.site_precision.begin(), from_log.site_precision.end());
  const LoneVisit<Real> visit =
      run.clients().visit_alone(run.state(), question.client, site_mean, site_precision, watch);
  report.steps = visit.steps;
  report.train_loss = visit.train_loss;
  report.refused = visit.refused;
  report.unusable = visit.unusable;
  report.mean.assign(visit.mean.begin(), visit.mean.end());
  report.precision.assign(visit.precision.begin(), visit.precision.end());
  compare(question, logged, run.parts().logged, scenario.log.text("storage") == "float16", report);
  if (question.whole_round) {
    const std::string what = fmt::format("server's state after round {}", question.round);
    (repeat_round(run, report, logged) ? report.same : report.differences).push_back(what);
  }
  return report;
}

}  // namespace

ReplayReport replay(const ReplayQuestion& question, const RunSettings& settings) {
  if (question.whole_round && question.source == ReplaySource::log) {
    throw InputError(
        "[replay] --whole-round needs the state of all clients, got --from log, which has the one's; leave one of them "
        "out");
  }
  const Logged logged = read_logged(question);
  const Scenario scenario = logged_scenario(logged.header);
  return runs_in_double(scenario) ? replay_in<double>(question, settings, scenario, logged)
                                  : replay_in<float>(question, settings, scenario, logged);
}

}  // namespace ivory
