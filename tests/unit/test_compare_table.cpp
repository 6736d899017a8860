// The comparison of logs: every number against one worked out by hand.
#define BOOST_TEST_MODULE compare_table
#include <cmath>
#include <sstream>

#include "ivory/error.hpp"
#include "src/compare_table.hpp"
#include "src/text_table.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_course.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
namespace tt = boost::test_tools;

constexpr double exact = 1e-12;  // sums of a few doubles

const double never = no_value;

Course first_seed() {
  return {.arm = "avg",
          .seed = 1,
          .accuracy = {never, .8, never, .7, .6},
          .nll = {2, 1, 9, 1.5, never},
          .accuracy_bayes = {},
          .clients = {},
          .every = 2};
}
Course second_seed() {
  return {.arm = "avg",
          .seed = 2,
          .accuracy = {never, .6, never, .7, .74},
          .nll = {2, 1.5, 9, 1.2, 1.1},
          .accuracy_bayes = {},
          .clients = {},
          .every = 2};
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_log_is_summarised) {
  TemporaryFolder folder;
  Course course = first_seed();
  course.accuracy_bayes = {never, .7, never, .74, .76};
  // 21 clients with a value: the worst two are 0.1 and 0.3.
  course.clients.assign(19, 0.9);
  course.clients.insert(course.clients.begin() + 5, {0.3, never, 0.1});
  const LogSummary log = read_summary(write_course(folder, course));
  BOOST_TEST(log.arm == "avg");
  BOOST_TEST(log.seed == 1U);
  BOOST_TEST(log.rounds == 5);
  BOOST_TEST(log.rounds_complete == 5);
  BOOST_TEST(log.data_checksum == "0000000000000001");
  BOOST_TEST(log.target == 0.75);
  BOOST_TEST(log.mean.accuracy.best == 0.8);
  BOOST_TEST(log.mean.accuracy.final == 0.6);
  BOOST_TEST(log.mean.accuracy.last == (0.8 + 0.7 + 0.6) / 3, tt::tolerance(exact));  // round 3 was not evaluated
  BOOST_TEST(log.mean.nll.best == 1.0);
  BOOST_TEST(std::isnan(log.mean.nll.final));  // diverged at the end
  BOOST_TEST(std::isnan(log.mean.nll.last));
  BOOST_TEST(log.mean.ece.best == 0.2 / 5, tt::tolerance(exact));
  BOOST_TEST(log.mean.ece.last == (0.2 / 2 + 0.2 / 4 + 0.2 / 5) / 3, tt::tolerance(exact));
  BOOST_TEST(log.mean.brier.best == 0.2, tt::tolerance(exact));
  BOOST_TEST(log.mean.rounds_to_target == 2.0);
  BOOST_TEST(log.mean.bytes_to_target == 3000.0);
  BOOST_TEST(log.bayes.accuracy.best == 0.76);
  BOOST_TEST(log.bayes.accuracy.last == (0.7 + 0.74 + 0.76) / 3, tt::tolerance(exact));
  BOOST_TEST(log.bayes.rounds_to_target == 5.0);
  BOOST_TEST(log.bayes.bytes_to_target == 7500.0);
  BOOST_TEST(log.mean.worst_clients == 0.2, tt::tolerance(1e-7));  // stored as float
  BOOST_TEST(log.bayes.worst_clients == 0.1, tt::tolerance(1e-7));
  BOOST_TEST(log.seconds == 10.0);
  BOOST_TEST(log.bytes == 7500.0);
  BOOST_TEST(log.refused == 3.0);

  course.target = 0.8;  // reached by being equal
  BOOST_TEST(read_summary(write_course(folder, course)).mean.rounds_to_target == 2.0);
}

BOOST_AUTO_TEST_CASE(what_never_happened_is_missing) {
  TemporaryFolder folder;
  Course course = second_seed();
  course.clients = {0.5, 0.25, never};
  const LogSummary log = read_summary(write_course(folder, course));
  BOOST_TEST(std::isnan(log.mean.rounds_to_target));
  BOOST_TEST(std::isnan(log.mean.bytes_to_target));
  BOOST_TEST(std::isnan(log.bayes.accuracy.best));
  BOOST_TEST(std::isnan(log.bayes.nll.last));
  BOOST_TEST(log.mean.worst_clients == 0.25);  // of two clients the worst tenth is one

  course.accuracy = {.4, .6};
  course.every = 1;
  course.seed = 3;
  const LogSummary cut = read_summary(write_course(folder, course));
  BOOST_TEST(cut.rounds_complete == 2);
  BOOST_TEST(cut.mean.accuracy.last == 0.5, tt::tolerance(exact));  // two rounds are all there are
  BOOST_TEST(std::isnan(cut.mean.worst_clients));
  BOOST_TEST(cut.seconds == 4.0);

  course.accuracy.clear();
  course.seed = 4;
  const LogSummary empty = read_summary(write_course(folder, course));
  BOOST_TEST(empty.rounds_complete == 0);
  BOOST_TEST(std::isnan(empty.mean.accuracy.final));
  BOOST_TEST(empty.seconds == 0.0);
}

BOOST_AUTO_TEST_CASE(seeds_of_an_arm_become_mean_and_deviation) {
  TemporaryFolder folder;
  const std::vector<std::string> paths = {write_course(folder, first_seed()), write_course(folder, second_seed())};
  const std::vector<LogSummary> logs = read_summaries(paths);
  BOOST_REQUIRE(logs.size() == 2U);
  const std::string csv = comparison_csv(logs);
  const auto number = [](const std::string& line, int field) {
    std::istringstream fields(line);
    std::string text;
    for (int i = 0; i <= field; ++i) std::getline(fields, text, ',');
    return text.empty() ? no_value : std::stod(text);
  };
  // Final accuracies 0.6 and 0.74: mean 0.67, deviation 0.14 / sqrt(2).
  const std::string final = csv_line(csv, "sample,avg,vb_admm,mean,accuracy,final");
  BOOST_TEST(number(final, 1) == 0.67, tt::tolerance(exact));
  BOOST_TEST(number(final, 2) == 0.14 / std::sqrt(2.0), tt::tolerance(exact));
  BOOST_TEST(number(final, 3) == 2.0);
  BOOST_TEST(contains(final, ",1:0.6;2:0.74"));
  // Last three: 0.7 and 0.68.
  const std::string last = csv_line(csv, "sample,avg,vb_admm,mean,accuracy,last_3");
  BOOST_TEST(number(last, 1) == 0.69, tt::tolerance(exact));
  BOOST_TEST(number(last, 2) == 0.02 / std::sqrt(2.0), tt::tolerance(exact));
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,mean,nll,final") == "nat,1.1,,1,1:;2:1.1,,");
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,mean,accuracy,rounds_to_target") == "rounds,2,,1,1:2;2:,,");
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,mean,accuracy,bytes_to_target") == "bytes,3000,,1,1:3000;2:,,");
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,posterior_average,accuracy,best") == "1,,,0,1:;2:,,");
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,,seconds,total") == "s,10,0,2,1:10;2:10,,");
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,,refused,total") == "clients,3,0,2,1:3;2:3,,");

  const std::string table = comparison_table(logs);
  for (const char* part :
       {"67.00 ±9.90  69.00 ±1.41", "1.1000 (1/2)", "1.2667 (1/2)", "77.00 ±4.24", "1.0500 ±0.0707", "2.0 (1/2)",
        "3.0 (1/2)", "sent [kB]", "to 75 % accuracy", "10.0 ±0.0", "avg: 6 client updates were refused"}) {
    BOOST_TEST(contains(table, part), part << " is not in\n" << table);
  }
  BOOST_TEST(!contains(table, "posterior average"));  // no arm has one
  BOOST_TEST(!contains(table, "warning"));
  BOOST_TEST(!contains(table, "nan"));
}

BOOST_AUTO_TEST_CASE(arms_stand_below_each_other) {
  TemporaryFolder folder;
  Course other = second_seed();
  other.arm = "vb";
  other.accuracy_bayes = {never, .6, never, .8, .9};
  other.clients = {0.5, 0.75};
  const std::vector<std::string> paths = {write_course(folder, other), write_course(folder, first_seed())};
  const std::string table = comparison_table(read_summaries(paths));
  const std::string expected =
      "sample: one seed; last 3: mean over the last three evaluated rounds\n"
      "worst clients: the tenth of them that is least accurate on its own examples\n"
      "\n"
      "                        accuracy [%]   NLL [nat]       ECE [%]        Brier\n"
      "arm  model              final  last 3   final  last 3  final  last 3   final  last 3\n"
      "vb   mean model         74.00   68.00  1.1000  1.2667   4.00    6.33  0.2000  0.3167\n"
      "     posterior average  90.00   76.67  0.2500  0.2500   1.00    1.00  0.1250  0.1250\n"
      "avg  mean model         60.00   70.00       -       -   4.00    6.33  0.2000  0.3167\n"
      "     posterior average      -       -       -       -      -       -       -       -\n"
      "\n"
      "                        best over rounds                          to 75 % accuracy   worst clients\n"
      "arm  model              accuracy [%]  NLL [nat]  ECE [%]   Brier  rounds  sent [kB]   accuracy [%]  time [s]  "
      "rounds run  seeds\n"
      "vb   mean model                74.00     1.1000     4.00  0.2000       -          -          50.00      10.0   "
      "        5      1\n"
      "     posterior average         90.00     0.2500     1.00  0.1250     4.0        6.0          25.00\n"
      "avg  mean model                80.00     1.0000     4.00  0.2000     2.0        3.0              -      10.0   "
      "        5      1\n"
      "     posterior average             -          -        -       -       -          -              -\n"
      "\n"
      "vb: 3 client updates were refused (not finite)\n"
      "avg: 3 client updates were refused (not finite)\n";
  BOOST_TEST(table == expected);
}

BOOST_AUTO_TEST_CASE(detection_of_out_of_distribution_inputs_is_shown_where_there_is_some) {
  TemporaryFolder folder;
  Course one = first_seed(), two = second_seed(), other = first_seed();
  one.auroc = {never, .2, never, .9, .8};
  two.auroc = {never, .2, never, .9, .7};
  two.accuracy_bayes = {never, .6, never, .8, .9};
  two.auroc_bayes = {never, .2, never, .9, .95};
  other.arm = "without";
  const std::vector<std::string> paths = {write_course(folder, one), write_course(folder, two),
                                          write_course(folder, other)};
  const std::vector<LogSummary> logs = read_summaries(paths);
  BOOST_TEST(logs[0].mean.ood.confidence.auroc == .8);
  BOOST_TEST(logs[1].bayes.ood.confidence.auroc == .95);
  BOOST_TEST(std::isnan(logs[1].bayes.ood.entropy.auroc));
  BOOST_TEST(std::isnan(logs[2].mean.ood.confidence.auroc));
  const std::string table = comparison_table(logs);
  BOOST_TEST(
      contains(
          table,
          "\nout-of-distribution inputs told from the test set, last evaluated round\n"
          "arm  model              score                  AUROC [%]  AUPR in [%]  AUPR out [%]  FPR at 95 % [%]  "
          "detection error [%]\n"
          "avg  mean model         largest probability  75.00 ±7.07            -             -      50.00 ±0.00     "
          "               -\n"
          "     mean model         negative entropy     37.50 ±3.54            -             -                -     "
          "               -\n"
          "     posterior average  largest probability  95.00 (1/2)            -             -                -     "
          "               -\n"),
      table);
  const std::string csv = comparison_csv(logs);
  BOOST_TEST(contains(csv_line(csv, "sample,avg,vb_admm,mean,ood_auroc,final"), "1,0.75,"), csv);
  BOOST_TEST(csv_line(csv, "sample,avg,vb_admm,posterior_average,ood_auroc,final") == "1,0.95,,1,1:;2:0.95,,");
  BOOST_TEST(contains(csv_line(csv, "sample,avg,vb_admm,mean,ood_entropy_auroc,final"), ",2,1:0.4;2:0.35,"));
  // Without such data nothing is said of it.
  const std::vector<LogSummary> plain = read_summaries(std::vector<std::string>{paths[2]});
  BOOST_TEST(!contains(comparison_table(plain), "out-of-distribution"));
  BOOST_TEST(!contains(comparison_csv(plain), "ood_"));
}

BOOST_AUTO_TEST_CASE(regression_has_columns_of_its_own) {
  TemporaryFolder folder;
  Course course = second_seed();
  course.regression = true;
  course.accuracy_bayes = {never, .6, never, .8, .4};
  course.clients = {0.5, 0.75};
  const std::string path = write_course(folder, course);
  const LogSummary log = read_summary(path);
  BOOST_TEST(log.mean.rmse.best == 0.6);  // the smallest
  BOOST_TEST(log.mean.rmse.final == 0.74);
  BOOST_TEST(log.mean.worst_clients_rmse == 0.75);
  BOOST_TEST(std::isnan(log.mean.worst_clients));
  BOOST_TEST(std::isnan(log.mean.rounds_to_target));
  const std::string table = comparison_table(read_summaries(std::vector<std::string>{path}));
  const std::string expected =
      "sample: one seed; last 3: mean over the last three evaluated rounds\n"
      "worst clients: the tenth of them that has the largest RMSE on its own examples\n"
      "\n"
      "                        RMSE            NLL [nat]\n"
      "arm  model               final  last 3   final  last 3\n"
      "avg  mean model         0.7400  0.6800  1.1000  1.2667\n"
      "     posterior average  0.4000  0.6000  0.2500  0.2500\n"
      "\n"
      "                        best over rounds   worst clients\n"
      "arm  model                RMSE  NLL [nat]           RMSE  time [s]  rounds run  seeds\n"
      "avg  mean model         0.6000     1.1000         0.7500      10.0           5      1\n"
      "     posterior average  0.4000     0.2500              -\n"
      "\n"
      "avg: 3 client updates were refused (not finite)\n";
  BOOST_TEST(table == expected);
  const std::string csv = comparison_csv(read_summaries(std::vector<std::string>{path}));
  BOOST_TEST(contains(csv, "mean,rmse,best,unit of the targets,0.6,"), csv);
  BOOST_TEST(contains(csv, "mean,rmse,worst_tenth_of_clients,unit of the targets,0.75,"), csv);
  BOOST_TEST(!contains(csv, "accuracy"));
  // Beside a classification both kinds of columns stand.
  Course other = first_seed();
  other.arm = "classes";
  const std::string both =
      comparison_table(read_summaries(std::vector<std::string>{path, write_course(folder, other)}));
  for (const std::string part : {"RMSE", "accuracy [%]", "to 75 % accuracy", "least accurate"}) {
    BOOST_TEST(contains(both, part), part << " is not in\n" << both);
  }
}

BOOST_AUTO_TEST_CASE(an_unfinished_run_is_marked_and_kept) {
  TemporaryFolder folder;
  Course cut = second_seed();
  cut.accuracy.resize(4);
  const std::string path = write_course(folder, cut);
  const std::vector<std::string> paths = {write_course(folder, first_seed()), path};
  const std::string table = comparison_table(read_summaries(paths));
  BOOST_TEST(contains(table, "avg *"), table);
  BOOST_TEST(contains(table, "* unfinished: " + path + ", 4 of 5 rounds\n"), table);
  BOOST_TEST(contains(table, "  4/5      2\n"), table);
  // The final accuracies that there are: 0.6 and 0.7.
  BOOST_TEST(contains(table, "65.00 ±7.07"), table);
}

BOOST_AUTO_TEST_CASE(logs_that_do_not_belong_together_are_warned_of) {
  TemporaryFolder folder;
  const std::string first = write_course(folder, first_seed());
  const auto table_with = [&](const Course& course) {
    return comparison_table(read_summaries(std::vector<std::string>{first, write_course(folder, course)}));
  };
  Course other = second_seed();
  other.checksum = 2;
  BOOST_TEST(!contains(table_with(other), "different data"));  // another seed may draw other data
  other.seed = first_seed().seed;
  other.arm = "sum";
  const std::string data = table_with(other);
  BOOST_TEST(contains(data, "warning: the logs have different data: checksum 0000000000000001 (" + first + ")"), data);
  other = second_seed();
  other.rounds = 7;
  BOOST_TEST(contains(table_with(other), "warning: the logs have different numbers of rounds: 5 ("));
  other = second_seed();
  other.target = 0.5;
  const std::string target = table_with(other);
  BOOST_TEST(contains(target, "warning: the logs have different target accuracies: 0.5 ("));
  BOOST_TEST(contains(target, "to target accuracy"));
  other = second_seed();
  other.name = "other";
  const std::string names = table_with(other);
  BOOST_TEST(contains(names, "sample / avg"), names);
  BOOST_TEST(contains(names, "other / avg"), names);
  BOOST_TEST(contains(names, "sample, other: one seed"), names);
  other = second_seed();
  other.bins = 20;
  const std::string settings = table_with(other);
  BOOST_TEST(contains(settings, "warning: avg puts runs of different settings together: evaluation.bins = "), settings);
  BOOST_TEST(!contains(table_with(second_seed()), "different settings"));
  const std::string twice = comparison_table(read_summaries(std::vector<std::string>{first, first}));
  BOOST_TEST(
      contains(twice, "warning: avg has seed 1 twice: " + first + " and " + first + "; only the first one counts"),
      twice);
  BOOST_TEST(contains(twice, "sample: one seed"), twice);
  BOOST_CHECK_THROW(read_summaries(std::vector<std::string>{first, folder / "missing.h5"}), InputError);
}

BOOST_AUTO_TEST_CASE(a_seed_counts_once) {
  TemporaryFolder folder;
  const std::string one = write_course(folder, first_seed()), two = write_course(folder, second_seed());
  const std::string csv = comparison_csv(read_summaries(std::vector<std::string>{one, two}));
  const std::string final = csv_line(csv, "mean,accuracy,final,1");
  BOOST_TEST(contains(final, ",0.0989949"), final);
  BOOST_TEST(contains(final, ",2,1:0.6;2:0.74"), final);
  BOOST_TEST(comparison_csv(read_summaries(std::vector<std::string>{one, two, one, two, two})) == csv);
}

BOOST_AUTO_TEST_CASE(a_round_that_is_no_number_is_not_replaced_by_the_last_good_one) {
  TemporaryFolder folder;
  Course diverged = first_seed();
  diverged.accuracy.back() = diverged.nll.back() = never;
  diverged.accuracy_bayes = {never, .7, never, .8, never};
  const LogSummary log = read_summary(write_course(folder, diverged));
  for (const QualitySummary* quality : {&log.mean, &log.bayes}) {
    BOOST_TEST(std::isnan(quality->accuracy.final));
    BOOST_TEST(std::isnan(quality->accuracy.last));
    BOOST_TEST(quality->accuracy.best == 0.8);
  }
  const std::string table = comparison_table(std::vector<LogSummary>{log});
  BOOST_TEST(contains(table, "accuracy [%]"), table);
  diverged.regression = true;
  diverged.seed = 2;
  const LogSummary regression = read_summary(write_course(folder, diverged));
  BOOST_TEST(std::isnan(regression.mean.rmse.final));
  BOOST_TEST(regression.mean.rmse.best == 0.7);
  const std::string errors = comparison_table(std::vector<LogSummary>{regression});
  BOOST_TEST((contains(errors, "RMSE") && !contains(errors, "accuracy [%]")), errors);
  // A posterior that comes with the last round alone has no earlier rounds.
  Course late = second_seed();
  late.accuracy_bayes = {never, never, never, never, .9};
  late.seed = 3;
  const LogSummary laplace = read_summary(write_course(folder, late));
  BOOST_TEST(laplace.bayes.accuracy.last == 0.9);
}

BOOST_AUTO_TEST_CASE(names_survive_the_csv) {
  TemporaryFolder folder;
  Course course = first_seed();
  course.arm = "a \"quoted\", long";
  const std::string csv = comparison_csv(read_summaries(std::vector<std::string>{write_course(folder, course)}));
  BOOST_TEST(contains(csv, "sample,\"a \"\"quoted\"\", long\",vb_admm,mean,accuracy,best,1,0.8,,1,1:0.8,,\n"), csv);
  std::istringstream lines(csv);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) ++count;
  BOOST_TEST(count == 1U + 2 * (4 * 3 + 3) + 6);
}

BOOST_AUTO_TEST_CASE(columns_fit_what_stands_in_them) {
  TextTable table(1);
  table.heading({{"", 1}, {"a wide heading", 2}, {"µ", 1}});
  table.row({"name", "x", "y", "z"});
  table.row({"ä", "1.5", "±22", ""});
  BOOST_TEST(table.text() ==
             "      a wide heading  µ\n"
             "name    x          y  z\n"
             "ä     1.5        ±22\n");
  BOOST_TEST(TextTable(1).text().empty());
}
