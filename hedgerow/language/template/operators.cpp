// SPDX-License-Identifier: Apache-2.0
// Arithmetic with Python's rules: whole numbers of 64 bits, floor division, signs of remainders.
#include <fmt/format.h>

#include <cmath>

#include "hedgerow/core/error.h"
#include "hedgerow/language/template/interpreter.h"

namespace hedgerow::jinja {
namespace {

const char* sign_of(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::subtract:
      return "-";
    case Op::multiply:
      return "*";
    case Op::divide:
      return "/";
    case Op::floor_divide:
      return "//";
    case Op::modulo:
      return "%";
    default:
      return "**";
  }
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

Value whole(Op op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool over = false;
  switch (op) {
    case Op::add:
      over = __builtin_add_overflow(a, b, &out);
      break;
    case Op::subtract:
      over = __builtin_sub_overflow(a, b, &out);
      break;
    case Op::multiply:
      over = __builtin_mul_overflow(a, b, &out);
      break;
    case Op::divide:
      require(b != 0, "division by zero");
      require(std::abs(static_cast<double>(a)) < 9e15 && std::abs(static_cast<double>(b)) < 9e15,
              "division of numbers beyond 2^53 is not supported");
      return {static_cast<double>(a) / static_cast<double>(b)};
    case Op::floor_divide:
    case Op::modulo:
      require(b != 0, "division by zero");
      if (b == -1) {
        over = __builtin_sub_overflow(int64_t{0}, a, &out);
        if (op == Op::modulo) return {int64_t{0}};
        break;
      }
      return {op == Op::floor_divide ? floor_div(a, b) : a - floor_div(a, b) * b};
    default:
      if (b < 0) {
        require(a != 0, "zero to a negative power");
        return {std::pow(static_cast<double>(a), static_cast<double>(b))};
      }
      out = 1;
      // Beyond 63 rounds only 0, 1 and -1 still fit, whose powers repeat.
      for (int64_t i = b > 64 ? 64 + b % 2 : b; i > 0 && !over; --i)
        over = __builtin_mul_overflow(out, a, &out);
      break;
  }
  require(!over, "whole numbers beyond 64 bits are not supported");
  return {out};
}

Value real(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return {a + b};
    case Op::subtract:
      return {a - b};
    case Op::multiply:
      return {a * b};
    case Op::divide:
      require(b != 0, "division by zero");
      return {a / b};
    case Op::floor_divide:
    case Op::modulo: {
      require(b != 0, "division by zero");
      double rest = std::fmod(a, b);
      double quotient = (a - rest) / b;
      if (rest != 0 && (b < 0) != (rest < 0)) rest += b, quotient -= 1;
      if (rest == 0) rest = std::copysign(0.0, b);
      if (op == Op::modulo) return {rest};
      double floor = quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient);
      if (quotient - floor > 0.5) floor += 1;
      return {floor};
    }
    default: {
      const double out = std::pow(a, b);
      require(std::isfinite(out) || !std::isfinite(a) || !std::isfinite(b),
              "a power is no number we can hold");
      return {out};
    }
  }
}

}  // namespace

Value Interpreter::binary(Op op, const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  const bool left = a.whole(i), right = b.whole(j);
  if (left && right) return whole(op, i, j);
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) return real(op, x, y);
  if (op == Op::add && a.text() && b.text()) {
    budget_.bytes(2 * (a.text()->size() + b.text()->size()));
    Text out = *a.text();
    out.append(*b.text());
    return text(std::move(out));
  }
  const List *l = a.list(), *r = b.list();
  const auto plain = [](const List* of) {
    return of != nullptr && (of->kind == Seq::list || of->kind == Seq::tuple);
  };
  if (op == Op::add && plain(l) && plain(r) && l->kind == r->kind) {
    budget_.bytes(64 * (l->items.size() + r->items.size()));
    std::vector<Value> items = l->items;
    items.insert(items.end(), r->items.begin(), r->items.end());
    return make_list(std::move(items), budget_, l->kind);
  }
  if (op == Op::multiply && (left || right) && (a.text() || b.text())) {
    const Text& t = a.text() ? *a.text() : *b.text();
    const int64_t times = t.empty() ? 0 : std::max<int64_t>(0, left ? i : j);
    require(times <= 1 << 24, "a text is repeated more often than a chat template may");
    budget_.bytes(2 * t.size() * static_cast<size_t>(times));
    Text out;
    for (int64_t k = 0; k < times; ++k) out.append(t);
    return text(std::move(out));
  }
  if (op == Op::multiply && (left || right) && (plain(l) || plain(r))) {
    const List& of = l != nullptr ? *l : *r;
    const int64_t times = of.items.empty() ? 0 : std::max<int64_t>(0, left ? i : j);
    require(times <= 1 << 24, "a list is repeated more often than a chat template may");
    budget_.bytes(64 * of.items.size() * static_cast<size_t>(times));
    std::vector<Value> items;
    for (int64_t k = 0; k < times; ++k) items.insert(items.end(), of.items.begin(), of.items.end());
    return make_list(std::move(items), budget_, of.kind);
  }
  for (const Value* v : {&a, &b})
    if (const auto* u = v->as<Undefined>())
      throw Error(fmt::format("'{}' is undefined, and '{}' was applied to it", u->name, sign_of(op)));
  throw Error(fmt::format("'{}' of a {} and a {} is not supported", sign_of(op), type_name(a), type_name(b)));
}

Value Interpreter::concat(const Node& n) {
  Text out;
  for (const NodePtr& part : n.a) put(out, str(evaluate(*part), budget_));
  return text(std::move(out));
}

}  // namespace hedgerow::jinja
