// The layer over HDF5: what it writes and what others write is read, and every defect of a file is an error with its
// place.
#define BOOST_TEST_MODULE hdf5_file
#include <hdf5.h>
#include <hdf5_hl.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "ivory/error.hpp"
#include "src/hdf5_file.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"

// HDF5 1.10 itself leaks a little when it meets a damaged file.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the name that the leak sanitizer asks for
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5_serial"; }

namespace {

using namespace ivory;
using ivory::test::TemporaryFolder;
using Names = std::vector<std::string>;
using Shape = std::vector<std::size_t>;

template <class Error, class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class T>
std::vector<T> read(const Hdf5File& file, const char* name) {
  return file.read<T>(name).values;
}

/// A file as other programs write it: big-endian, chunked and compressed, variable-length strings, booleans, records.
std::string foreign_file(const TemporaryFolder& folder) {
  const std::string path = folder / "foreign.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t extents[] = {3, 2}, three = 3;
  const hid_t space = H5Screate_simple(2, extents, nullptr), line = H5Screate_simple(1, &three, nullptr);

  const hid_t chunked = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[] = {2, 2};
  H5Pset_chunk(chunked, 2, chunk);
  H5Pset_deflate(chunked, 6);
  const short numbers[] = {1, -2, 3, -4, 5, -600};
  const hid_t big = H5Dcreate2(file, "big_endian", H5T_STD_I16BE, space, H5P_DEFAULT, chunked, H5P_DEFAULT);
  H5Dwrite(big, H5T_NATIVE_SHORT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers);

  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  H5Tset_cset(text, H5T_CSET_UTF8);
  const char* const words[] = {"one", "zwölf", ""};
  const hid_t strings = H5Dcreate2(file, "strings", text, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(strings, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, words);
  const hid_t scalar = H5Screate(H5S_SCALAR);
  const hid_t attribute = H5Acreate2(strings, "language", text, scalar, H5P_DEFAULT, H5P_DEFAULT);
  const char* const language = "mixed";
  H5Awrite(attribute, text, &language);

  const hid_t padded = H5Tcopy(H5T_FORTRAN_S1);  // padded with blanks
  H5Tset_size(padded, 4);
  const hid_t fortran = H5Dcreate2(file, "fortran", padded, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(fortran, padded, H5S_ALL, H5S_ALL, H5P_DEFAULT, "ab  c   defg");

  const hid_t boolean = H5Tenum_create(H5T_NATIVE_INT8);
  signed char value = 0;
  H5Tenum_insert(boolean, "FALSE", &value);
  value = 1;
  H5Tenum_insert(boolean, "TRUE", &value);
  const signed char flags[] = {1, 0, 1};
  const hid_t booleans = H5Dcreate2(file, "booleans", boolean, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(booleans, boolean, H5S_ALL, H5S_ALL, H5P_DEFAULT, flags);

  const hid_t record = H5Tcreate(H5T_COMPOUND, 8);
  H5Tinsert(record, "a", 0, H5T_NATIVE_INT);
  H5Tinsert(record, "b", 4, H5T_NATIVE_FLOAT);
  H5Dcreate2(file, "records", record, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

  const hsize_t huge[] = {1ULL << 40, 1ULL << 20};
  H5Dcreate2(file, "huge", H5T_NATIVE_DOUBLE, H5Screate_simple(2, huge, nullptr), H5P_DEFAULT, H5P_DEFAULT,
             H5P_DEFAULT);
  H5Dcreate2(file, "null", H5T_NATIVE_DOUBLE, H5Screate(H5S_NULL), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/nowhere", file, "dangling", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external("other.h5", "/x", file, "outside", H5P_DEFAULT, H5P_DEFAULT);
  const double pair[] = {0.25, std::numeric_limits<double>::infinity()};
  const hsize_t two = 2;
  const hid_t pairs =
      H5Acreate2(file, "pair", H5T_IEEE_F64BE, H5Screate_simple(1, &two, nullptr), H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(pairs, H5T_NATIVE_DOUBLE, pair);
  H5Fclose(file);
  H5close();  // with everything that is still open
  return path;
}

}  // namespace

BOOST_AUTO_TEST_CASE(written_numbers_read_back) {
  TemporaryFolder folder;
  const double infinite = std::numeric_limits<double>::infinity();
  {
    Hdf5File file = Hdf5File::create(folder / "a.h5");
    file.write("x", {2, 3}, std::vector<double>{1.5, -2, 1e300, infinite, 0, 6});
    file.write("/deep/er/y", {3}, std::vector<std::int32_t>{-1, 0, 2147483647});
    file.write("deep/z", {}, std::vector<std::uint64_t>{18446744073709551615U});
    file.write("deep/bytes", {2}, std::vector<std::int8_t>{-128, 127});
    file.write("nothing", {0, 4}, std::vector<float>{});
    file.write_text("names", {"first", "", "dritte Ä"});
    file.set_integer("/", "count", -3);
    file.set_natural("/", "seed", 18446744073709551615U);
    file.set_real("x", "scale", 0.1);
    file.set_text("deep", "title", "a µ");
    file.set_text("deep", "empty", "");
    file.set_text("deep", "title", "replaced");
    file.make_dataset({.path = "filled", .type = Hdf5Type::int32, .shape = {2}, .fill = -1});
    file.make_dataset({.path = "unallocated",
                       .type = Hdf5Type::float32,
                       .shape = {1000, 1000},
                       .fill = std::nan(""),
                       .allocated = false});
    file.set_fill_attribute("filled", -1);
    file.close();
  }
  const Hdf5File file = Hdf5File::open(folder / "a.h5");
  BOOST_TEST((file.shape("x") == Shape{2, 3}));
  BOOST_TEST(file.shape("deep/z").empty());
  BOOST_TEST((read<double>(file, "/x/") == std::vector<double>{1.5, -2, 1e300, infinite, 0, 6}));
  BOOST_TEST((read<std::int64_t>(file, "deep/er/y") == std::vector<std::int64_t>{-1, 0, 2147483647}));
  BOOST_TEST((read<std::uint64_t>(file, "deep/z") == std::vector<std::uint64_t>{18446744073709551615U}));
  BOOST_TEST((read<float>(file, "deep/bytes") == std::vector<float>{-128, 127}));
  BOOST_TEST((file.read_rows<float>("x", 1, 1).values == std::vector<float>{static_cast<float>(infinite), 0, 6}));
  BOOST_TEST((file.read_rows<double>("x", 1, 1).shape == Shape{1, 3}));
  BOOST_TEST(file.read_rows<double>("x", 2, 0).values.empty());
  BOOST_TEST((file.read_part<double>("x", {0, 1}, {2, 1}).values == std::vector<double>{-2, 0}));
  BOOST_TEST((file.read_part<float>("x", {1, 2}, {1, 1}).values == std::vector<float>{6}));
  BOOST_TEST((file.read_part<double>("x", {0, 1}, {2, 1}).shape == Shape{2, 1}));
  BOOST_TEST((file.shape("nothing") == Shape{0, 4}));
  BOOST_TEST(read<double>(file, "nothing").empty());
  BOOST_TEST((file.read_text("names") == Names{"first", "", "dritte Ä"}));
  BOOST_TEST(file.is_text("names"));
  BOOST_TEST(!file.is_text("x"));
  BOOST_TEST(!file.is_integer("x"));
  BOOST_TEST(file.is_integer("deep/er/y"));
  BOOST_TEST(file.integer("/", "count") == -3);
  BOOST_TEST(file.natural("/", "seed") == 18446744073709551615U);
  BOOST_TEST(file.real("x", "scale") == 0.1);
  BOOST_TEST(file.real("/", "count") == -3.0);
  BOOST_TEST(file.text("deep", "title") == "replaced");
  BOOST_TEST(file.text("deep", "empty").empty());
  BOOST_TEST((read<std::int32_t>(file, "filled") == std::vector<std::int32_t>{-1, -1}));
  BOOST_TEST(file.integer("filled", "_FillValue") == -1);
  BOOST_TEST(std::isnan(read<double>(file, "unallocated").at(999999)));
  BOOST_TEST(std::filesystem::file_size(folder / "a.h5") < 100000U);
  BOOST_TEST((file.groups() == Names{"deep"}));
  BOOST_TEST((file.groups("deep") == Names{"er"}));
  BOOST_TEST((file.datasets("/deep/") == Names{"bytes", "z"}));
  BOOST_TEST((file.attributes("deep") == Names{"empty", "title"}));
  BOOST_TEST(file.has_group("deep/er"));
  BOOST_TEST(!file.has_group("x"));
  BOOST_TEST(!file.has_dataset("deep"));
  BOOST_TEST(!file.has_dataset("deep/er/y/z"));
  BOOST_TEST(file.has_attribute("/", "seed"));
  BOOST_TEST(!file.has_attribute("/", "speed"));
  BOOST_TEST(!file.has_attribute("/no/where", "seed"));
}

BOOST_AUTO_TEST_CASE(files_of_other_programs_are_read) {
  TemporaryFolder folder;
  const Hdf5File file = Hdf5File::open(foreign_file(folder));
  BOOST_TEST((read<float>(file, "big_endian") == std::vector<float>{1, -2, 3, -4, 5, -600}));
  BOOST_TEST((file.read_rows<std::int32_t>("big_endian", 1, 2).values == std::vector<std::int32_t>{3, -4, 5, -600}));
  BOOST_TEST(file.is_integer("big_endian"));
  BOOST_TEST((file.read_text("strings") == Names{"one", "zwölf", ""}));
  BOOST_TEST((file.read_text("fortran") == Names{"ab", "c", "defg"}));
  BOOST_TEST(file.text("strings", "language") == "mixed");
  BOOST_TEST(file.is_integer("booleans"));
  BOOST_TEST((read<std::int64_t>(file, "booleans") == std::vector<std::int64_t>{1, 0, 1}));
  BOOST_TEST((read<float>(file, "booleans") == std::vector<float>{1, 0, 1}));
  BOOST_TEST((file.reals("/", "pair") == std::vector<double>{0.25, std::numeric_limits<double>::infinity()}));
  BOOST_TEST(read<double>(file, "null").empty());
  BOOST_TEST(!file.has_dataset("dangling"));
  BOOST_TEST(!file.has_dataset("outside"));
  BOOST_TEST((file.datasets() == Names{"big_endian", "booleans", "fortran", "huge", "null", "records", "strings"}));
}

BOOST_AUTO_TEST_CASE(what_is_not_there_is_named) {
  TemporaryFolder folder;
  const std::string path = foreign_file(folder);
  const Hdf5File file = Hdf5File::open(path);
  const auto message = [&](const auto& call) {
    const std::string text = error_of<InputError>(call);
    BOOST_TEST(contains(text, path), text);
    return text;
  };
  const std::string missing = message([&] { file.read<float>("big_indian"); });
  BOOST_TEST(contains(missing, "\"/big_indian\""));
  BOOST_TEST(contains(missing, "\"big_endian\""));  // what there is instead
  BOOST_TEST(contains(message([&] { file.read<float>("no/where/x"); }), "no such group"));
  BOOST_TEST(contains(message([&] { file.read<float>("dangling"); }), "must be a dataset"));
  BOOST_TEST(contains(message([&] { file.read<float>("strings"); }), "got text"));
  BOOST_TEST(contains(message([&] { file.read<float>("records"); }), "got records"));
  BOOST_TEST(contains(message([&] { file.read_text("booleans"); }), "got numbers"));
  BOOST_TEST(contains(message([&] { file.read<float>("huge"); }), "[1099511627776, 1048576]"));
  BOOST_TEST(contains(message([&] { file.read_rows<float>("big_endian", 2, 2); }), "shape [3, 2]"));
  BOOST_TEST(contains(message([&] { file.read_part<float>("big_endian", {2, 1}, {1, 2}); }), "[1, 2] from [2, 1]"));
  BOOST_TEST(contains(message([&] { file.read_part<float>("big_endian", {2}, {1}); }), "shape [3, 2]"));
  BOOST_TEST(contains(message([&] { file.read_rows<float>("big_endian", 1, std::numeric_limits<std::size_t>::max()); }),
                      "[3, 2]"));
  BOOST_TEST(contains(message([&] { file.real("/", "pear"); }), "\"pear\""));
  BOOST_TEST(contains(message([&] { file.real("/", "pair"); }), "one value is needed, got 2"));
  BOOST_TEST(contains(message([&] { file.integer("/", "pair"); }), "integer"));
  BOOST_TEST(contains(message([&] { file.text("/", "pair"); }), "text is needed"));
  BOOST_TEST(contains(message([&] { file.real("strings", "language"); }), "numbers are needed"));
  BOOST_TEST(contains(message([&] { file.datasets("nowhere"); }), "\"/nowhere\""));
  BOOST_TEST(contains(message([&] { file.attributes("nowhere"); }), "\"/nowhere\""));
}

BOOST_AUTO_TEST_CASE(files_that_are_none_are_refused) {
  TemporaryFolder folder;
  const std::string whole = foreign_file(folder);
  std::ifstream source(whole, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(source), {}};
  const auto refused = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder / name, std::ios::binary) << content;
    const std::string message = error_of<InputError>([&] { Hdf5File::open(folder / name); });
    BOOST_TEST(contains(message, folder / name), name << ": " << message);
  };
  refused("empty", "");
  refused("text", "name = 1\n");
  refused("half", bytes.substr(0, bytes.size() / 2));
  refused("start", bytes.substr(0, 100));
  BOOST_TEST(contains(error_of<InputError>([&] { Hdf5File::open(folder / "missing"); }), "must exist"));
  BOOST_TEST(contains(error_of<InputError>([&] { Hdf5File::open(folder.path().string()); }), "directory"));
}

BOOST_AUTO_TEST_CASE(a_damaged_file_never_crashes) {
  TemporaryFolder folder;
  Hdf5File::create(folder / "a.h5").write("deep/x", {4, 4}, std::vector<double>(16, 1.0));
  std::ifstream source(folder / "a.h5", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(source), {}};
  std::size_t refused = 0, read = 0;
  for (std::size_t at = 0; at < bytes.size(); at += 7) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(~damaged[at]);
    std::ofstream(folder / "b.h5", std::ios::binary) << damaged;
    try {
      const Hdf5File file = Hdf5File::open(folder / "b.h5");
      file.groups();
      file.read<double>("deep/x");
      ++read;
    } catch (const InputError&) {
      ++refused;
    }
  }
  BOOST_TEST(refused > 10U);
  BOOST_TEST(read > 10U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_said) {
  TemporaryFolder folder;
  const std::string path = folder / "no/folder/a.h5";
  BOOST_TEST(contains(error_of<RunError>([&] { Hdf5File::create(path); }), path));
  BOOST_TEST(contains(error_of<RunError>([&] { Hdf5File::modify(folder / "missing.h5"); }), "missing.h5"));
  Hdf5File file = Hdf5File::create(folder / "a.h5");
  file.write("x", {2}, std::vector<float>{1, 2});
  const auto message = [&](const auto& call) {
    const std::string text = error_of<RunError>(call);
    BOOST_TEST(contains(text, folder / "a.h5"), text);
    return text;
  };
  BOOST_TEST(contains(message([&] { file.write("x", {1}, std::vector<float>{1}); }), "\"/x\""));
  BOOST_TEST(contains(message([&] { file.write("y", {3}, std::vector<float>{1}); }), "[3] for 1"));
  BOOST_TEST(contains(message([&] { file.set_text("/", "long", std::string(64001, 'x')); }), "64000"));
  BOOST_TEST(contains(message([&] { file.set_real("z", "a", 1); }), "\"/z\""));
  BOOST_TEST(contains(message([&] { file.attach_scale("x", 1, "x"); }), "axis 1"));
}

BOOST_AUTO_TEST_CASE(an_empty_image_is_a_file) {
  TemporaryFolder folder;
  const std::vector<std::byte> image = empty_hdf5_image();
  std::ofstream(folder / "a.h5", std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  // Bytes behind its end do no harm: space that was reserved.
  std::filesystem::resize_file(folder / "a.h5", 100000);
  Hdf5File::modify(folder / "a.h5").write("x", {1}, std::vector<float>{3});
  BOOST_TEST((read<float>(Hdf5File::open(folder / "a.h5"), "x") == std::vector<float>{3}));
  BOOST_TEST(std::filesystem::file_size(folder / "a.h5") < 10000U);
}
