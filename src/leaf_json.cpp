#include "src/leaf_json.hpp"

#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ivory/error.hpp"
#include "src/byte_source.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

using Json = nlohmann::json;

constexpr std::size_t deepest = 64;
constexpr std::size_t longest_value = std::size_t{1}
                                      << 26;  // bytes of one text or number; LEAF's raw texts are shorter

/// The code points of valid UTF-8, which is what the JSON parser and the TOML parser let through.
std::vector<char32_t> code_points(const std::string& text) {
  std::vector<char32_t> out;
  for (const char byte : text) {
    const auto c = static_cast<unsigned char>(byte);
    if ((c & 0xC0U) == 0x80U && !out.empty()) {
      out.back() = (out.back() << 6) | (c & 0x3FU);
    } else {
      out.push_back(c < 0x80 ? c : c & (c >= 0xF0 ? 0x07U : c >= 0xE0 ? 0x0FU : 0x1FU));
    }
  }
  return out;
}

/// A file's bytes one after the other, and how many there were since the parser last said something.
class Feed {
 public:
  explicit Feed(const std::string& path) : path_(path), source_(path), buffer_(std::size_t{1} << 16) { refill(); }

  bool at_end() const { return end_ == 0; }
  char current() const { return buffer_[at_]; }
  void advance() {
    if (++position_ - told_ > longest_value) {
      throw InputError(
          fmt::format("[data] a value in JSON may have {} bytes, got more, {} byte {}", longest_value, path_, told_));
    }
    if (++at_ == end_) refill();
  }
  std::uint64_t position() const { return position_; }
  void told() { told_ = position_; }

 private:
  void refill() {
    at_ = 0;
    end_ = source_.read(buffer_.data(), buffer_.size());
  }

  const std::string& path_;
  ByteSource source_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::uint64_t position_ = 0, told_ = 0;
};

/// What the parser takes for a pair of iterators; the one without a feed is the end.
class FeedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  explicit FeedIterator(Feed* feed = nullptr) : feed_(feed) {}
  char operator*() const { return feed_->current(); }
  FeedIterator& operator++() {
    feed_->advance();
    return *this;
  }
  bool operator==(const FeedIterator& other) const { return done() == other.done(); }
  bool operator!=(const FeedIterator& other) const { return !(*this == other); }

 private:
  bool done() const { return feed_ == nullptr || feed_->at_end(); }
  Feed* feed_;
};

/// Takes the parser's events. `where_` is the stack of open objects and lists; a key's value is what `key_` says.
class LeafEvents : public Json::json_sax_t {
 public:
  LeafEvents(const std::string& path, Feed& feed, LeafFormat& format, NameNumbers& users, Dataset& data)
      : path_(path), feed_(feed), format_(format), users_(users), data_(data) {}

  bool null() override { return plain("null"); }
  bool boolean(bool) override { return plain("true or false"); }
  bool binary(binary_t&) override { return plain("bytes"); }
  bool number_integer(number_integer_t value) override { return whole(value); }
  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto most = static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max());
    return value <= most ? whole(static_cast<std::int64_t>(value)) : number_float(static_cast<double>(value), {});
  }
  bool number_float(number_float_t value, const string_t&) override {
    feed_.told();
    if (in(Part::example)) return add_number(value);
    return plain("a number that is not whole, or beyond 64 bits");
  }
  bool string(string_t& value) override {
    feed_.told();
    if (in(Part::examples)) return add_text(value);
    if (in(Part::labels)) return add_next_character(value);
    if (in(Part::users)) {
      listed_.push_back(value);
      return true;
    }
    return plain("a text");
  }
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& name) override;
  bool end_object() override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // The library's text begins with its own number and name in brackets.
    std::string text = error.what();
    if (const auto close = text.find("] "); text.starts_with('[') && close != std::string::npos)
      text.erase(0, close + 2);
    throw InputError(fmt::format("[data] the file must be JSON, got: {}, {} byte {}; is the download complete?",
                                 shown(OptionValue(text)), path_, position));
  }

  void finish();

 private:
  enum class Part { root, users, counts, user_data, user, examples, example, labels, ignored };

  bool in(Part part) const { return !where_.empty() && where_.back() == part; }
  bool ignoring() const { return in(Part::ignored) || ((in(Part::root) || in(Part::user)) && key_ == Part::ignored); }

  std::string place() const {
    std::string text = path_;
    if (!user_.empty()) text += fmt::format(" user {}", shown(OptionValue(user_)));
    if (in(Part::examples)) text += fmt::format(" x {}", xs_);
    if (in(Part::example)) text += fmt::format(" x {} value {}", xs_, values_);
    if (in(Part::labels)) text += fmt::format(" y {}", ys_);
    return text + fmt::format(" (byte {})", feed_.position());
  }
  [[noreturn]] void fail(const std::string& rule, const std::string& got, const std::string& advice = {}) const {
    throw InputError(fmt::format("[data] {}, got {}, {}{}", rule, got, place(), advice));
  }
  /// What must stand at the present place, for messages.
  const char* expected() const;

  bool open(bool object);
  bool plain(const char* what) {
    feed_.told();
    if (!ignoring()) fail(expected(), what);
    return true;
  }
  bool whole(std::int64_t value);
  bool add_number(double value);
  bool add_text(const std::string& text);
  bool add_next_character(const std::string& text);
  std::uint32_t letter_of(char32_t c) const;
  void set_text(bool text);
  /// The first example tells the length; the others must have it.
  void set_length(std::size_t length);

  const std::string& path_;
  Feed& feed_;
  LeafFormat& format_;
  NameNumbers& users_;
  Dataset& data_;

  std::vector<Part> where_;
  Part key_ = Part::ignored;
  bool seen_[static_cast<int>(Part::ignored)] = {};
  std::string user_;
  std::size_t xs_ = 0, ys_ = 0, values_ = 0;  // of the present user; of the present example
  std::vector<std::string> listed_;
  std::vector<std::int64_t> counts_;
  std::unordered_map<std::string, std::size_t> samples_;  // examples read of each user
};

const char* LeafEvents::expected() const {
  if (where_.empty()) return "a LEAF file is an object with users, num_samples and user_data";
  switch (where_.back()) {
    case Part::root:
      return key_ == Part::user_data ? "user_data is an object with an entry per user"
                                     : "users and num_samples are lists";
    case Part::users:
      return "users is a list of texts";
    case Part::counts:
      return "num_samples is a list of whole numbers";
    case Part::user_data:
      return "a user is an object with the lists x and y";
    case Part::user:
      return "x and y are lists";
    case Part::examples:
      return format_.text.value_or(false) ? "an example is a text, as the first one is"
                                          : "an example is a list of numbers or a text";
    case Part::example:
      return "an example is a list of numbers";
    case Part::labels:
      return format_.text.value_or(false) ? "y is the character that follows x" : "y is a class number";
    case Part::ignored:
      break;
  }
  return "";
}

bool LeafEvents::open(bool object) {
  feed_.told();
  if (where_.size() == deepest) fail(fmt::format("JSON of LEAF is nested at most {} deep", deepest), "more");
  const char* what = object ? "an object" : "a list";
  if (ignoring()) {
    where_.push_back(Part::ignored);
  } else if (where_.empty() && object) {
    where_.push_back(Part::root);
  } else if (in(Part::root) && object == (key_ == Part::user_data)) {
    where_.push_back(key_);
  } else if (in(Part::user_data) && object) {
    where_.push_back(Part::user);
  } else if (in(Part::user) && !object) {
    where_.push_back(key_);
  } else if (in(Part::examples) && !object && !format_.text.value_or(false)) {
    set_text(false);
    values_ = 0;
    where_.push_back(Part::example);
  } else {
    fail(expected(), what);
  }
  return true;
}

bool LeafEvents::key(string_t& name) {
  feed_.told();
  if (in(Part::ignored)) return true;
  const auto take = [&](Part part) {
    bool& seen = seen_[static_cast<int>(part)];
    if (seen) fail("a key stands once", shown(OptionValue(name)) + " again");
    seen = true;
    key_ = part;
  };
  if (in(Part::root)) {
    key_ = Part::ignored;  // "hierarchies", and whatever else there is
    if (name == "users") take(Part::users);
    if (name == "num_samples") take(Part::counts);
    if (name == "user_data") take(Part::user_data);
  } else if (in(Part::user_data)) {
    if (!samples_.emplace(name, 0).second) fail("a user stands once in a file", shown(OptionValue(name)) + " again");
    user_ = name;
    xs_ = ys_ = 0;
    seen_[static_cast<int>(Part::examples)] = seen_[static_cast<int>(Part::labels)] = false;
  } else if (in(Part::user)) {
    key_ = Part::ignored;  // "raw"
    if (name == "x") take(Part::examples);
    if (name == "y") take(Part::labels);
  }
  return true;
}

bool LeafEvents::end_array() {
  feed_.told();
  if (in(Part::example)) {
    set_length(values_);
    ++xs_;
  }
  where_.pop_back();
  return true;
}

bool LeafEvents::end_object() {
  feed_.told();
  const Part part = where_.back();
  where_.pop_back();
  if (part == Part::user) {
    if (!seen_[static_cast<int>(Part::examples)] || !seen_[static_cast<int>(Part::labels)]) {
      fail("a user has the lists x and y", seen_[static_cast<int>(Part::examples)] ? "no y" : "no x");
    }
    if (xs_ != ys_) fail("x and y of a user are equally long", fmt::format("{} and {}", xs_, ys_));
    samples_[user_] = xs_;
    if (xs_ > 0) data_.client.insert(data_.client.end(), xs_, users_(user_));
  }
  if (part == Part::user || part == Part::user_data) user_.clear();
  return true;
}

bool LeafEvents::whole(std::int64_t value) {
  feed_.told();
  if (in(Part::example)) return add_number(static_cast<double>(value));
  if (in(Part::labels) && !format_.text.value_or(false)) {
    set_text(false);
    if (value < 0 || value >= max_classes) checked_label(value, place(), data_.labels.size(), "y");
    data_.labels.push_back(static_cast<std::int32_t>(value));
    ++ys_;
    return true;
  }
  if (in(Part::counts)) {
    counts_.push_back(value);
    return true;
  }
  return plain("a number");
}

bool LeafEvents::add_number(double value) {
  const auto single = static_cast<float>(value);
  if (!std::isfinite(single)) fail("inputs must be finite numbers", fmt::format("{}", value));
  if (format_.length > 0 && values_ == format_.length) set_length(values_ + 1);
  check_growth(data_.x, 1, path_);
  data_.x.push_back(single);
  ++values_;
  return true;
}

void LeafEvents::set_text(bool text) {
  if (format_.text && *format_.text != text) {
    fail("examples of one data set are all lists of numbers or all texts", text ? "a text" : "a list");
  }
  format_.text = text;
}

void LeafEvents::set_length(std::size_t length) {
  if (length == 0) fail("an example has inputs", "none");
  if (format_.length == 0) format_.length = length;
  if (length == format_.length) return;
  const bool more = !*format_.text && length > format_.length;  // a list is refused at its first value too many
  fail(fmt::format("examples are equally long, the first has {} {}", format_.length,
                   *format_.text ? "characters" : "values"),
       more ? "more" : fmt::format("{}", length));
}

std::uint32_t LeafEvents::letter_of(char32_t c) const {
  const auto found = format_.letter.find(c);
  if (found == format_.letter.end()) {
    fail("characters must be in the alphabet", fmt::format("U+{:04X}", static_cast<std::uint32_t>(c)),
         "; add it to data.alphabet");
  }
  return found->second;
}

bool LeafEvents::add_text(const std::string& text) {
  set_text(true);
  const std::vector<char32_t> letters = code_points(text);
  set_length(letters.size());
  const std::size_t alphabet = format_.letter.size(), begin = data_.x.size();
  check_growth(data_.x, format_.features(), path_);
  data_.x.resize(begin + format_.features(), 0.0F);
  for (std::size_t t = 0; t < letters.size(); ++t) data_.x[begin + t * alphabet + letter_of(letters[t])] = 1.0F;
  ++xs_;
  return true;
}

bool LeafEvents::add_next_character(const std::string& text) {
  set_text(true);
  const std::vector<char32_t> letters = code_points(text);
  if (letters.size() != 1) fail(expected(), fmt::format("a text of {}", letters.size()));
  data_.labels.push_back(static_cast<std::int32_t>(letter_of(letters[0])));
  ++ys_;
  return true;
}

void LeafEvents::finish() {
  for (const auto& [part, name] :
       {std::pair{Part::users, "users"}, {Part::counts, "num_samples"}, {Part::user_data, "user_data"}}) {
    if (!seen_[static_cast<int>(part)]) fail(expected(), fmt::format("no {}", name));
  }
  if (listed_.size() != counts_.size() || listed_.size() != samples_.size()) {
    fail("users, num_samples and user_data are equally long",
         fmt::format("{}, {} and {}", listed_.size(), counts_.size(), samples_.size()));
  }
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    const auto found = samples_.find(listed_[i]);
    const std::string name = shown(OptionValue(listed_[i]));
    if (found == samples_.end()) fail("every user has data", fmt::format("none for {}", name));
    if (counts_[i] < 0 || static_cast<std::uint64_t>(counts_[i]) != found->second) {
      fail("num_samples is the number of a user's examples",
           fmt::format("{} for {} of {}", counts_[i], found->second, name));
    }
  }
}

}  // namespace

LeafFormat::LeafFormat(const std::string& alphabet, const std::string& place) {
  for (const char32_t c : code_points(alphabet)) {
    if (!letter.emplace(c, static_cast<std::uint32_t>(letter.size())).second) {
      throw InputError(fmt::format("[data] alphabet has every character once, got U+{:04X} again{}",
                                   static_cast<std::uint32_t>(c), place));
    }
  }
  if (letter.empty()) throw InputError(fmt::format("[data] alphabet must have characters, got none{}", place));
}

void read_leaf_json(const std::string& path, LeafFormat& format, NameNumbers& users, Dataset& data) {
  Feed feed(path);
  LeafEvents events(path, feed, format, users, data);
  Json::sax_parse(FeedIterator(&feed), FeedIterator(), &events);
  events.finish();
}

}  // namespace ivory
