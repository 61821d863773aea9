#include "trainer/text/jinja_interpreter.h"

#include "trainer/text/jinja_names.h"

namespace finetuned::text::jinja {

namespace {

using Kind = Value::Kind;
constexpr std::size_t kDeepestEvaluation = 1500;  // keeps the machine's stack within about 3 MiB

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent)
    for (const auto& [known, value] : scope->variables)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(std::string(name), std::move(value));
}

Interpreter::Deeper::Deeper(Interpreter& of) : interpreter(of) {
  if (++interpreter.depth_ > kDeepestEvaluation)
    throw TemplateError(TemplateError::Kind::kLimit, "the chat template is nested too deep");
}

Interpreter::Frame::Frame(Interpreter& of, Scope* parent)
    : scope(of.scopes_.emplace_back(Scope{parent, {}})), interpreter_(of), macros_(of.macros_.size()) {}

Interpreter::Frame::~Frame() {
  if (interpreter_.macros_.size() == macros_ && &interpreter_.scopes_.back() == &scope)
    interpreter_.scopes_.pop_back();
}

Interpreter::Interpreter(const Program& program, const RenderInput& input, const TemplateLimits& limits)
    : program_(program), input_(input), arena_(limits) {}

Rendered Interpreter::run() {
  Scope& globals = scopes_.emplace_back();
  Value messages = arena_.from_json(input_.messages);
  for (std::size_t i = 0; i < messages.list->items.size(); ++i)
    if (messages.list->items[i].is(Kind::kDict)) messages.list->items[i].dict->message = i;
  globals.set("messages", std::move(messages));
  globals.set("tools", arena_.from_json(input_.tools));
  globals.set("documents", none());
  globals.set("add_generation_prompt", boolean(input_.add_generation_prompt));
  if (!input_.bos_token.empty()) globals.set("bos_token", string(input_.bos_token));
  if (!input_.eos_token.empty()) globals.set("eos_token", string(input_.eos_token));
  for (const auto& [key, value] : input_.extra)
    globals.set(std::string_view(key.data(), key.size()), arena_.from_json(value));
  execute(program_.body, globals);
  return {std::move(root_), std::move(spans_)};
}

void Interpreter::write(std::string_view text) {
  arena_.charge(1 + text.size() / 16);
  if (out_->size() + text.size() > arena_.limits().output_bytes)
    throw TemplateError(
        TemplateError::Kind::kLimit,
        "the chat template writes more than " + std::to_string(arena_.limits().output_bytes) + " bytes");
  if (out_ == &root_ && message_ != Dict::kNoMessage && !text.empty()) {
    if (spans_.empty() || spans_.back().message != message_ || spans_.back().end != root_.size())
      spans_.push_back({message_, root_.size(), root_.size()});
    spans_.back().end = root_.size() + text.size();
  }
  *out_ += text;
}

void Interpreter::execute(const Block& block, Scope& scope) {
  const Deeper deeper(*this);
  for (const auto& statement : block)
    execute(*statement, scope);
}

void Interpreter::execute(const Statement& statement, Scope& scope) {
  arena_.charge(1);
  switch (statement.kind) {
    case Statement::Kind::kText:
      return write(statement.text);
    case Statement::Kind::kOutput:
      return write(to_text(evaluate(*statement.expression, scope)));
    case Statement::Kind::kIf:
      return run_if(statement, scope);
    case Statement::Kind::kFor:
      return run_for(statement, scope);
    case Statement::Kind::kSet:
      return assign(statement.target, evaluate(*statement.expression, scope), scope);
    case Statement::Kind::kSetBlock: {
      const Frame frame(*this, &scope);
      Value value = arena_.text(captured(statement.body, frame.scope));
      if (statement.filter) {
        frame.scope.set(kBlockInput, std::move(value));
        value = evaluate(*statement.filter, frame.scope);
      }
      return assign(statement.target, std::move(value), scope);
    }
    case Statement::Kind::kMacro: {
      Value value;
      value.kind = Kind::kCallable;
      arena_.charge(8);
      value.callable = &macros_.emplace_back(Callable{statement.text, &statement, &scope});
      return scope.set(statement.text, std::move(value));
    }
  }
}

void Interpreter::run_if(const Statement& statement, Scope& scope) {
  const Statement* branch = &statement;
  while (true) {
    if (truthy(evaluate(*branch->expression, scope))) return execute(branch->body, scope);
    const bool more = branch->otherwise.size() == 1 && branch->otherwise[0]->kind == Statement::Kind::kIf;
    if (!more) return execute(branch->otherwise, scope);
    branch = branch->otherwise[0].get();
  }
}

void Interpreter::run_for(const Statement& statement, Scope& scope) {
  std::vector<Value> items = iterate(evaluate(*statement.expression, scope), arena_);
  if (statement.filter) {
    std::vector<Value> kept;
    for (Value& candidate : items) {
      const Frame frame(*this, &scope);
      assign(statement.target, candidate, frame.scope);
      if (truthy(evaluate(*statement.filter, frame.scope))) kept.push_back(std::move(candidate));
    }
    items = std::move(kept);
  }
  if (items.empty()) return execute(statement.otherwise, scope);
  arena_.charge(8);
  LoopState& loop = loops_.emplace_back(LoopState{&items, 0, std::nullopt});
  Value loop_value;
  loop_value.kind = Kind::kLoop;
  loop_value.loop = &loop;
  const std::size_t outer_message = message_;
  for (loop.index = 0; loop.index < items.size(); ++loop.index) {
    arena_.charge(8);
    const Frame frame(*this, &scope);
    Scope& inner = frame.scope;
    inner.set("loop", loop_value);
    const Value& item = items[loop.index];
    assign(statement.target, item, inner);
    if (item.is(Kind::kDict) && item.dict->message != Dict::kNoMessage) message_ = item.dict->message;
    execute(statement.body, inner);
    message_ = outer_message;
  }
  loop.items = nullptr;  // the value may have been kept; its list is gone
}

std::string Interpreter::captured(const Block& block, Scope& scope) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  execute(block, scope);
  out_ = outer;
  return text;
}

void Interpreter::assign(const Target& target, Value value, Scope& scope) {
  if (!target.elements.empty()) {
    std::vector<Value> parts = iterate(value, arena_);
    if (parts.size() != target.elements.size())
      fail(std::to_string(parts.size()) + " values cannot be unpacked into " +
           std::to_string(target.elements.size()));
    for (std::size_t i = 0; i < parts.size(); ++i)
      assign(target.elements[i], std::move(parts[i]), scope);
    return;
  }
  if (target.attribute.empty()) return scope.set(target.name, std::move(value));
  const Value* object = scope.find(target.name);
  if (object == nullptr || !object->is(Kind::kNamespace))
    fail("'" + target.name + "' is no namespace; only a namespace's attributes can be set");
  arena_.charge(8);
  object->dict->set(target.attribute, std::move(value));
}

Value Interpreter::call_macro(const Callable& macro, Arguments arguments) {
  if (++calls_ > arena_.limits().nesting)
    throw TemplateError(TemplateError::Kind::kLimit, "macros call each other more than " +
                                                         std::to_string(arena_.limits().nesting) + " deep");
  const auto& parameters = macro.macro->parameters;
  if (arguments.positional.size() > parameters.size())
    fail("the macro '" + macro.name + "' takes " + std::to_string(parameters.size()) + " arguments at most");
  for (const auto& [name, value] : arguments.named) {
    bool known = false;
    for (std::size_t i = arguments.positional.size(); i < parameters.size(); ++i)
      known = known || parameters[i].name == name;
    if (!known) fail("the macro '" + macro.name + "' takes no argument '" + name + "' here");
  }
  const Frame frame(*this, macro.scope);
  Scope& scope = frame.scope;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Value* given = arguments.find(i, parameters[i].name);
    if (given != nullptr)
      scope.set(parameters[i].name, *given);
    else if (parameters[i].otherwise)
      scope.set(parameters[i].name, evaluate(*parameters[i].otherwise, scope));
    else
      scope.set(parameters[i].name, undefined(parameters[i].name));
  }
  Value text = arena_.text(captured(macro.macro->body, scope));
  --calls_;
  return text;
}

const Value* Arguments::find(std::size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

void Arguments::at_most(std::size_t most, std::string_view of) const {
  if (positional.size() + named.size() > most)
    fail("'" + std::string(of) + "' takes " + std::to_string(most) + " arguments at most");
}

std::int64_t Arguments::integer(std::size_t place, std::string_view name, std::int64_t otherwise) const {
  const Value* value = find(place, name);
  if (value == nullptr || value->is(Kind::kNone)) return otherwise;
  if (!value->is_integral()) fail("'" + std::string(name) + "' must be an integer");
  return value->as_int();
}

bool Arguments::truth(std::size_t place, std::string_view name, bool otherwise) const {
  const Value* value = find(place, name);
  return value == nullptr ? otherwise : truthy(*value);
}

const std::string& Arguments::text(std::size_t place, std::string_view name) const {
  const Value* value = find(place, name);
  if (value == nullptr || !value->is(Kind::kString)) fail("'" + std::string(name) + "' must be a string");
  return value->str();
}

}  // namespace finetuned::text::jinja
