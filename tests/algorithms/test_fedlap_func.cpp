#define BOOST_TEST_MODULE fedlap_func
#include "tests/support/boost_test.hpp"
BOOST_AUTO_TEST_CASE(x) {}
