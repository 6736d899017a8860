#include "src/csv_file.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "ivory/error.hpp"

namespace ivory {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 16;
constexpr std::size_t longest_cell = std::size_t{1} << 16, most_cells = std::size_t{1} << 20;
constexpr int at_end = -1;

}  // namespace

CsvFile::CsvFile(const std::string& path, char separator)
    : path_(path), separator_(separator), source_(path), buffer_(buffer_bytes) {
  end_ = source_.read(buffer_.data(), buffer_.size());
  if (std::string(buffer_.data(), std::min<std::size_t>(end_, 3)) == "\xEF\xBB\xBF") at_ = 3;
}

int CsvFile::get() {
  if (at_ == end_) {
    at_ = 0;
    end_ = source_.read(buffer_.data(), buffer_.size());
    if (end_ == 0) return at_end;
  }
  const int c = static_cast<unsigned char>(buffer_[at_++]);
  line_ += c == '\n' ? 1 : 0;
  return c;
}

void CsvFile::add(std::string& cell, int c) const {
  if (cell.size() == longest_cell) {
    throw InputError(
        fmt::format("[data] a cell of a CSV file has at most {} bytes, got more, {} line {}; is it a CSV "
                    "file, and are its quotes closed?",
                    longest_cell, path_, row_line_));
  }
  cell += static_cast<char>(c);
}

int CsvFile::read_quoted(std::string& cell) {
  const std::size_t opened = line_;
  for (;;) {
    int c = get();
    if (c == at_end) {
      throw InputError(
          fmt::format("[data] a quote must be closed, got the end of the file, {} line {}", path_, opened));
    }
    if (c != '"') {
      add(cell, c);
      continue;
    }
    c = get();
    if (c == '"') {
      add(cell, c);
      continue;
    }
    if (c == '\r') c = get();
    if (c == separator_ || c == '\n' || c == at_end) return c;
    throw InputError(
        fmt::format("[data] after a closing quote comes the separator or the end of the line, got "
                    "something else, {} line {}; a quote in a quoted cell is written twice",
                    path_, line_));
  }
}

int CsvFile::read_cell(std::string& cell) {
  cell.clear();
  int c = get();
  if (c == '"') return read_quoted(cell);
  for (; c != separator_ && c != '\n' && c != at_end; c = get()) add(cell, c);
  if (c != separator_ && !cell.empty() && cell.back() == '\r') cell.pop_back();
  return c;
}

bool CsvFile::next(std::vector<std::string>& cells) {
  for (;;) {
    row_line_ = line_;
    std::size_t count = 0;
    int ended = separator_;
    while (ended == separator_) {
      if (count == most_cells) {
        throw InputError(fmt::format("[data] a row of a CSV file has at most {} cells, got more, {} line {}",
                                     most_cells, path_, row_line_));
      }
      if (count == cells.size()) cells.emplace_back();
      ended = read_cell(cells[count++]);
    }
    cells.resize(count);
    const bool empty = count == 1 && cells[0].empty();
    if (!empty) return true;
    if (ended == at_end) return false;
  }
}

}  // namespace ivory
