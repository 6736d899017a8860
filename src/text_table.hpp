// Plain tables for terminals: columns as wide as they need, names to the left, numbers to the right.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace ivory {

class TextTable {
 public:
  /// A text over several columns.
  struct Span {
    std::string text;
    std::size_t columns = 1;
  };

  /// The first `left` columns are names.
  explicit TextTable(std::size_t left) : left_(left) {}

  void heading(std::vector<Span> spans) { rows_.push_back({std::move(spans), true}); }
  void row(const std::vector<std::string>& cells);
  /// Lines ending with '\n', without blanks at their ends.
  std::string text() const;

 private:
  struct Row {
    std::vector<Span> spans;
    bool heading = false;
  };
  std::vector<std::size_t> widths() const;
  std::size_t left_;
  std::vector<Row> rows_;
};

}  // namespace ivory
