// Paired differences and failed runs in the comparison: numbers worked out by hand, quantiles from tables.
#define BOOST_TEST_MODULE compare_differences
#include <cmath>

#include "ivory/error.hpp"
#include "src/compare_differences.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_course.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
namespace tt = boost::test_tools;

constexpr double exact = 1e-12;

Course course(const std::string& arm, std::uint64_t seed, double accuracy) {
  Course made;
  made.arm = arm;
  made.seed = seed;
  made.rounds = 1;
  made.accuracy = {accuracy};
  return made;
}

/// Two arms over seeds 1, 2, 3 and 2, 3, 4: shared are 2 and 3, with differences 0.25 and 0.125.
std::vector<LogSummary> two_arms(const TemporaryFolder& folder) {
  std::vector<std::string> paths;
  for (const Course& one : {course("a", 1, 0.1), course("a", 2, 0.25), course("a", 3, 0.5), course("b", 2, 0.5),
                            course("b", 3, 0.625), course("b", 4, 0.9)}) {
    paths.push_back(write_course(folder, one));
  }
  return read_summaries(paths);
}

double final_accuracy(const LogSummary& log) { return log.mean.accuracy.final; }

LogSummary failed_run(const std::string& arm, std::uint64_t seed, const std::string& reason) {
  LogSummary run;
  run.name = "sample";
  run.arm = arm;
  run.algorithm = "vb_admm";
  run.seed = seed;
  run.failure = reason;
  return run;
}

}  // namespace

BOOST_AUTO_TEST_CASE(student_t_is_that_of_the_tables) {
  // Two-sided 95 % points: any table of Student's distribution.
  const std::pair<std::size_t, double> points[] = {{1, 12.7062}, {2, 4.3027},  {3, 3.1824},  {4, 2.7764}, {5, 2.5706},
                                                   {9, 2.2622},  {10, 2.2281}, {19, 2.0930}, {99, 1.9842}};
  for (const auto& [degrees, t] : points) BOOST_TEST(two_sided_student_t(0.95, degrees) == t, tt::tolerance(3e-5));
  BOOST_TEST(two_sided_student_t(0.99, 4) == 4.6041, tt::tolerance(3e-5));
  BOOST_TEST(two_sided_student_t(0.5, 1) == 1.0, tt::tolerance(1e-12));  // Cauchy: its quartiles
  BOOST_TEST(two_sided_student_t(0.95, 100000) == 1.95996, tt::tolerance(3e-5));
}

BOOST_AUTO_TEST_CASE(differences_are_taken_over_shared_seeds) {
  TemporaryFolder folder;
  const std::vector<LogSummary> logs = two_arms(folder);
  const std::vector<ArmGroup> arms = group_by_arm(logs);
  BOOST_REQUIRE(arms.size() == 2U);
  const PairedDifference difference = paired_difference(arms[1], final_accuracy, arms[0], final_accuracy);
  BOOST_REQUIRE(difference.by_seed.size() == 2U);
  BOOST_TEST(difference.by_seed[0].first == 2U);
  BOOST_TEST(difference.by_seed[0].second == 0.25);
  BOOST_TEST(difference.by_seed[1].second == 0.125);
  BOOST_TEST(difference.spread.mean == 0.1875, tt::tolerance(exact));
  BOOST_TEST(difference.spread.deviation == 0.125 / std::sqrt(2.0), tt::tolerance(exact));
  // t of one degree of freedom times the standard error 0.125 / 2.
  BOOST_TEST(difference.half_width == 12.7062 * 0.0625, tt::tolerance(3e-5));

  const std::string table = comparison_table(logs);
  for (const char* part : {"difference to a, last 3", "+18.75 ±8.84  [-60.66, +98.16]", "      2\n"}) {
    BOOST_TEST(contains(table, part), part << " is not in\n" << table);
  }
  const std::string csv = comparison_csv(logs);
  BOOST_TEST(contains(csv, "sample,b,vb_admm,mean,accuracy,final,1,0.1875,0.08838834764831845,2,2:0.25;3:0.125,a,0.79"),
             csv);
  BOOST_TEST(contains(csv, "sample,b,vb_admm,mean,nll,last_3,nat,0,0,2,2:0;3:0,a,0\n"), csv);
  BOOST_TEST(!contains(csv, ",b,0.79"));  // the reference has none

  const std::string other = comparison_table(logs, "b");
  BOOST_TEST(contains(other, "difference to b, last 3"), other);
  BOOST_TEST(contains(other, "-18.75 ±8.84"), other);
  BOOST_CHECK_EXCEPTION(comparison_table(logs, "bb"), InputError, [](const InputError& error) {
    return contains(error.what(), "--baseline") && contains(error.what(), "did you mean \"b\"");
  });
}

BOOST_AUTO_TEST_CASE(an_average_stands_against_the_best_that_the_reference_has) {
  TemporaryFolder folder;
  std::vector<std::string> paths;
  for (const std::uint64_t seed : {1U, 2U}) {
    Course vb = course("vb", seed, 0.5);
    vb.accuracy_bayes = {0.75};
    Course wide = course("wide", seed, 0.5);
    wide.accuracy_bayes = {0.625};
    for (const Course& one : {course("avg", seed, 0.25), vb, wide}) paths.push_back(write_course(folder, one));
  }
  const std::vector<LogSummary> logs = read_summaries(paths);
  const std::string csv = comparison_csv(logs);
  BOOST_TEST(contains(csv, "sample,vb,vb_admm,posterior_average,accuracy,final,1,0.5,0,2,1:0.5;2:0.5,avg,0\n"), csv);
  BOOST_TEST(contains(comparison_table(logs), "avg has no posterior average: its mean model stands against both"));
  const std::string to_vb = comparison_csv(logs, "vb");
  BOOST_TEST(
      contains(to_vb, "sample,wide,vb_admm,posterior_average,accuracy,final,1,-0.125,0,2,1:-0.125;2:-0.125,vb,0\n"),
      to_vb);
  BOOST_TEST(!contains(to_vb, "sample,avg,vb_admm,posterior_average,accuracy,final,1,-"));
}

BOOST_AUTO_TEST_CASE(failed_runs_are_counted_with_their_reason) {
  TemporaryFolder folder;
  std::vector<LogSummary> logs = two_arms(folder);
  logs.insert(logs.begin(), failed_run("b", 1, "[run] it diverged"));
  logs.push_back(failed_run("lost", 1, "[memory] it did not fit"));
  logs.push_back(failed_run("lost", 2, "[memory] it did not fit"));
  const std::string table = comparison_table(logs);
  for (const char* part : {"b: 1 of 4 runs failed; seed 1: [run] it diverged\n",
                           "lost: 2 of 2 runs failed; seed 1, 2: [memory] it did not fit\n", "3/4\n", "0/2\n",
                           "67.50 ±20.46 (3/4)", "difference to b"}) {
    BOOST_TEST(contains(table, part), part << " is not in\n" << table);
  }
  BOOST_TEST(!contains(table, "warning"), table);
  BOOST_TEST(!contains(table, "nan"), table);
  const std::string csv = comparison_csv(logs);
  BOOST_TEST(contains(csv, "sample,b,vb_admm,,failed,share,1,0.25,0.5,4,1:1;2:0;3:0;4:0,,\n"), csv);
  BOOST_TEST(contains(csv, "sample,lost,vb_admm,mean,accuracy,final,1,,,0,1:;2:,,\n"), csv);
  BOOST_TEST(contains(csv, "sample,lost,vb_admm,mean,accuracy,final,1,,,0,,b,\n"), csv);
}

BOOST_AUTO_TEST_CASE(a_run_without_a_usable_update_has_failed) {
  TemporaryFolder folder;
  Course lost = course("a", 1, 0.1);
  lost.participants = 0;
  const LogSummary log = read_summary(write_course(folder, lost));
  BOOST_TEST(contains(log.failure, "some client's update must be usable, got none in 1 rounds"), log.failure);
  BOOST_TEST(!log.usable());
  BOOST_TEST(std::isnan(log.mean.accuracy.final));  // the start weights are no result
  lost.seed = 2;
  lost.rounds = 2;  // it goes on, and may recover
  BOOST_TEST(read_summary(write_course(folder, lost)).failure.empty());
}

BOOST_AUTO_TEST_CASE(unfinished_runs_have_no_difference) {
  TemporaryFolder folder;
  Course cut = course("b", 1, 0.5);
  cut.rounds = 2;
  Course whole = course("a", 1, 0.25);
  whole.rounds = 2;
  whole.accuracy = {0.25, 0.5};
  const std::vector<std::string> paths = {write_course(folder, whole), write_course(folder, cut)};
  const std::vector<LogSummary> logs = read_summaries(paths);
  const std::vector<ArmGroup> arms = group_by_arm(logs);
  BOOST_TEST(paired_difference(arms[1], final_accuracy, arms[0], final_accuracy).by_seed.empty());
}
