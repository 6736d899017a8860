// Rows and cells of a CSV file (RFC 4180), plain or packed with gzip.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "src/byte_source.hpp"

namespace ivory {

/// Cells are separated by one character and may stand in double quotes, in which separators and line ends count as text
/// and "" is a quote. Lines end with LF or CR LF; empty lines and a byte-order mark at the start are passed over.
class CsvFile {
 public:
  /// Throws InputError when the file cannot be opened.
  CsvFile(const std::string& path, char separator);

  /// The next row; false at the end. Throws InputError naming file and line: a quote that is not closed or not followed
  /// by a separator, a cell of more than 64 KiB, more than 2^20 cells, gzip damage.
  bool next(std::vector<std::string>& cells);

  std::size_t line() const { return row_line_; }  // where the row begins, the first line is 1
  const std::string& path() const { return path_; }

 private:
  int get();
  void add(std::string& cell, int c) const;
  /// Reads one cell; returns what ended it: the separator, '\n' or the end (-1).
  int read_cell(std::string& cell);
  int read_quoted(std::string& cell);

  std::string path_;
  char separator_;
  ByteSource source_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::size_t line_ = 1, row_line_ = 1;
};

}  // namespace ivory
