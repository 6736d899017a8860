#include "src/text_table.hpp"

#include <algorithm>
#include <numeric>

namespace ivory {
namespace {

constexpr std::size_t gap = 2;

/// Code points of UTF-8 text, each taken as one column wide.
std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

void TextTable::row(const std::vector<std::string>& cells) {
  Row row;
  for (const std::string& cell : cells) row.spans.push_back({cell, 1});
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> TextTable::widths() const {
  std::vector<std::size_t> widths;
  // Single cells first: a text over several columns widens the last of them only by what is still missing.
  for (const bool single : {true, false}) {
    for (const Row& row : rows_) {
      std::size_t column = 0;
      for (const Span& span : row.spans) {
        const std::size_t end = column + span.columns;
        if (widths.size() < end) widths.resize(end, 0);
        const auto from = widths.begin() + static_cast<std::ptrdiff_t>(column);
        const std::size_t there =
            std::accumulate(from, from + static_cast<std::ptrdiff_t>(span.columns), std::size_t{0}) +
            gap * (span.columns - 1);
        const std::size_t wanted = columns_of(span.text);
        if ((span.columns == 1) == single && wanted > there) widths[end - 1] += wanted - there;
        column = end;
      }
    }
  }
  return widths;
}

std::string TextTable::text() const {
  const std::vector<std::size_t> widths = this->widths();
  std::string text;
  for (const Row& row : rows_) {
    std::string line;
    std::size_t column = 0;
    for (const Span& span : row.spans) {
      std::size_t width = gap * (span.columns - 1);
      for (std::size_t i = 0; i < span.columns; ++i) width += widths[column + i];
      const std::string blanks(width - columns_of(span.text), ' ');
      if (column > 0) line += std::string(gap, ' ');
      const bool left = column < left_ || span.columns > 1;
      line += left ? span.text + blanks : blanks + span.text;
      column += span.columns;
    }
    line.resize(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

}  // namespace ivory
