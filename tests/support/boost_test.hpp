// Boost.Test from its shared library (link with -lboost_unit_test_framework): the header-only form costs every test program
// 16 s of compilation. Define BOOST_TEST_MODULE first.
#pragma once
#if !defined(BOOST_TEST_DYN_LINK)
#define BOOST_TEST_DYN_LINK
#endif
#include <boost/test/unit_test.hpp>
