"""Renders the same templates by our engine and by Jinja2 as Hugging Face sets it up; every byte must agree.

usage: compare.py RENDER_CASES_PROGRAM. Exits 77 where Jinja2 is not installed.
"""
import functools
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

try:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
except ImportError:
    print("skipped: python3-jinja2 is not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))


class Raised(Exception):
    pass


@functools.lru_cache(maxsize=None)
def environment(mutable):
    kind = SandboxedEnvironment if mutable else ImmutableSandboxedEnvironment
    env = kind(trim_blocks=True, lstrip_blocks=True)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Raised(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


@functools.lru_cache(maxsize=None)
def compiled(source):
    return environment("append" in source).from_string(source)


def expected(case):
    given = dict(case.get("extra", {}))
    for key in ("bos_token", "eos_token"):
        if case.get(key):
            given[key] = case[key]
    try:
        text = compiled(case["template"]).render(
            messages=case.get("messages", []), tools=case.get("tools"), documents=None,
            add_generation_prompt=case.get("add_generation_prompt", False), **given)
        return {"text": text}
    except Raised as error:
        return {"error": "raised", "message": str(error)}
    except Exception as error:  # what kind of failure it is, Python and we name differently
        return {"error": "failed", "message": repr(error)}


# Expressions, each rendered as {{ ... }}.
EXPRESSIONS = r"""
1 + 2 * 3|7 // 2|-7 // 2|7 % 3|-7 % 3|7 % -3|2 ** 10|2 ** -1|7 / 2|6 / 2|1.5 + 1|0.1 + 0.2|1e20|1e-7|123456789.0|1e16|-0.0
1.0|5.0 // 2|-5.5 % 2|10 - 3 - 2|2 * 3 % 4|1_000|- 3|+ 3|-2 ** 2|1 + -1|3 * 'ab'|'ab' * 2|[1] * 3|[1] + [2, 'x']|(1, 2) + (3,)
'a' ~ 1 ~ none ~ true ~ 1.5|'a' 'b'|"it's"|'say "x"'|['it\'s', "q\"", 'both\'"']|'\n\t\\'|['\n\t\\\x00\x7f\u200b']|'\u00e9\x41\101'|'a\qb'
true and false|true or false|not true|1 and 2|0 or 'x'|not 1 == 2|1 < 2 < 3|1 < 2 > 5|1 == 1.0|true == 1|'a' < 'b'|[1, 2] < [1, 3]|1 != 2|none == none
'a' in 'abc'|'x' not in 'abc'|1 in [1, 2]|'k' in {'k': 1}|1 in missing|3 not in (1, 2)|not 'a' in 'b'
'x' if true|'x' if false|'x' if 0 else 'y'|1 if 0 else 2 if 0 else 3|(1, 2)|(1,)|()|1, 2|[]|[1, [2, {'a': none}]]|{}|{'a': 1, 'b': [true, 'c']}
'hello'[0]|'hello'[-1]|'hello'[9]|'hello'[1:3]|'hello'[::-1]|'hello'[:-1]|'hello'[-3:]|'hello'[10:]|'héllo'[1]|'héllo'[::2]|[1, 2, 3][1:]|[1, 2, 3][::-1]|[1, 2, 3][-1]|[1, 2, 3][5]|(1, 2, 3)[:2]|[1,2,3,4][-3:-1]|'abc'[5:1:-1]|[0,1,2,3,4][4:0:-2]
{'a': {'b': 2}}.a.b|{'a': {'b': 2}}['a']['b']|{'a': 1}.x|[[1, 2], [3]][0][1]|[5, 6].1|missing|missing.x|none.x|'abc'.x|missing is defined|none is none|1 is none|{'x': none}.x is defined
'a' is string|1 is string|1 is number|true is number|1.5 is number|'1' is number|{} is mapping|[] is mapping|[] is iterable|'a' is iterable|1 is iterable|none is iterable|missing is iterable|[] is sequence|'a' is sequence|{} is sequence|1 is sequence
true is true|1 is true|false is false|0 is false|1 is equalto 1|1 is equalto(2)|1 is eq 1|'a' is not string|none is not none|1 is ne 2|1 is in [1, 2]|5 is integer|true is integer|5.0 is float|true is boolean|missing is undefined|1 is not defined
' x '|trim|' x ' | trim ~ '!'|'xxaxx' | trim('x')|'HeLLo' | upper|'HeLLo' | lower|'hello wORLD-foo (bar' | title|'straße' | upper|'éÀ' | upper|'éÀ' | lower|[3, 1] | first|'abc' | last|[] | first|[3, 1] | last|'abc' | list|{'b': 1, 'a': 2} | list|(1, 2) | list
[1, 2] | join|[1, 'a', none] | join(', ')|[{'n': 1}, {'n': 2}] | join('-', attribute='n')|'abc' | join('.')|[1, 2] | length|'héllo' | length|{'a': 1} | count|missing | length|missing | default('d')|none | default('d')|none | default('d', true)|'' | d('x', boolean=true)|'' | default('x')|missing | default
{'b': 1, 'a': 2} | items | list|{'b': 1, 'A': 2, 'c': 0} | dictsort|{'b': 1, 'A': 2, 'c': 0} | dictsort(true)|{'b': 1, 'A': 2, 'c': 0} | dictsort(by='value')|{'b': 1, 'a': 2} | dictsort(reverse=true)|missing | items | list
['a', 'b'] | map('upper') | list|[{'n': {'m': 1}}, {'n': {'m': 2}}] | map(attribute='n.m') | list|[{'n': 1}, {}] | map(attribute='n', default='?') | join(',')|[' a ', 'b '] | map('trim') | join|['ab', 'cb'] | map('replace', 'b', 'x') | list
[0, 1, '', 'a'] | select | list|[0, 1, '', 'a'] | reject | list|[1, 'a', none] | select('string') | list|[1, 2, 3] | select('equalto', 2) | list|['a', 'b'] | reject('equalto', 'a') | list|[1, 2] | select('in', [2, 3]) | list
[{'r': 'u'}, {'r': 'a'}] | selectattr('r', 'equalto', 'u') | list|[{'r': 'u'}, {'r': 'a'}] | rejectattr('r', 'equalto', 'u') | list|[{'r': 'u'}, {}] | selectattr('r') | list|[{'r': 'u'}, {}] | selectattr('r', 'defined') | list|[{'r': 1}] | rejectattr('r') | list
'aXbX' | replace('X', '-')|'aXbX' | replace('X', '-', 1)|'abc' | replace('', '.')|12 | string|12 | string | length|'12' | int|'12.7' | int|'x' | int|'x' | int(5)|3.9 | int|'ff' | int(base=16)|none | int|true | int|' 7 ' | int|'<b>' | safe
'a\nb\n\nc' | indent|'a\nb' | indent(2)|'a\nb' | indent(2, true)|'a\n\nb' | indent(2, blank=true)|'a\nb' | indent(width='> ')|'a\n' | indent(1)|'' | indent
{'a': 1, 'b': [1, 2.5, none, true, 'é"\\\n']} | tojson|{'a': 1, 'b': [1, {'c': []}], 'd': {}} | tojson(indent=2)|[1, [2]] | tojson(indent=4)|'é😀\u2028' | tojson|'é😀' | tojson(ensure_ascii=true)|{'b': 1, 'a': 2} | tojson(sort_keys=true)|[1, 2] | tojson(separators=(',', ':'))|1e100 | tojson|[] | tojson(indent=2)|missing | tojson|'\x7f\x01' | tojson
' a b '.strip()|'xax'.strip('x')|' a '.lstrip()|' a '.rstrip()|'xax'.lstrip('x')|'xax'.rstrip('x')|'a b  c'.split()|'a,b,,c'.split(',')|'a,b,c'.split(',', 1)|' a b c '.split(none, 1)|'a</think>b'.split('</think>')[-1]|''.split()|''.split(',')
'abc'.startswith('ab')|'abc'.endswith('bc')|'abc'.startswith(('x', 'a'))|'abc'.endswith('x')|'aab'.replace('a', 'x')|'aab'.replace('a', 'x', 1)|'abC'.upper()|'ABc'.lower()|"they're bill's x1y".title()|{'a': 1}.get('a')|{'a': 1}.get('b')|{'a': 1}.get('b', 2)|{'a': 1}.items() | list|{'a': 1}.keys() | list|{'a': 1}.values() | list
range(5) | list|range(1, 4) | list|range(5, 0, -2) | list|range(0) | list|dict(a=1, b='x')|dict({'a': 1}, b=2)|namespace(a=3).a|namespace().a|-1 | string|(1 if true else 2) + 3|'%' ~ 5|not (1 in [1])|1 if not missing else 2|[1,2,][0]|{'a':1,}.a
1 + 'a'|'a' + 1|none + 'a'|missing + 'a'|'a' + missing|1 / 0|1 % 0|1 < 'a'|none < 1|5()|none | length|1 | list|'a'.get('x')|{} | join(',')|missing.a.b|missing[0]|missing()|5 in 5|'a' in none|[1] + 'a'|{} + {}|'abc' | int | string|missing ~ 'x'|missing == missing|missing == none|none ~ ''
range(200000) | length|'x' | nosuchfilter|1 is nosuchtest|'a'.encode()|"a".__class__|{}.__class__|raise_exception('boom')|lipsum()|1 +|(1|[1|'a|1 2|{'a'}|a b|{{ 1 }}
"""

STATEMENTS = [
    "{% if a is defined %}x{% elif 1 %}y{% else %}z{% endif %}", "{% if 0 %}x{% elif 0 %}y{% else %}z{% endif %}",
    "{% for x in [1,2,3] %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in [1,2,3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for x in [1,2,3] %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in [1,1,2] %}{{ loop.cycle('a','b') }}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in missing %}a{% else %}e{% endfor %}",
    "{% for x in [1,2,3,4] if x % 2 == 0 %}{{ loop.index }}{{ x }}{{ loop.length }}{% endfor %}",
    "{% for x in [1,2] if x > 5 %}{{ x }}{% else %}no{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in {'a': 1} %}{{ k }}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for c in 'aé' %}[{{ c }}]{% endfor %}",
    "{% for x in [1,2] %}{% for y in [3,4] %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}",
    "{% set x = 0 %}{% for i in [1,2] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace() %}{{ ns.a is defined }}{% set ns.a = [1] %}{{ ns.a }}{{ ns['a'] }}", "{% set x = 1 %}{% set x.y = 2 %}",
    "{% set x %}a{{ 1 + 1 }}b{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | trim | replace('a','b') %}  a {% endset %}[{{ x }}]",
    "{% if 1 %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% macro m(a, b=2) %}({{ a }},{{ b }}){% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=0) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}", "{% set g = 3 %}{% macro m() %}{{ g }}{% endmacro %}{{ m() }}{% set x = m() ~ '!' %}{{ x }}",
    "{% set l = [] %}{% for i in [1,2] %}{{ l.append(i) or '' }}{% endfor %}{{ l }}",
    "a {# comment #} b", "a\n  {# c #}\nb", "a\n  {#- c -#}\n b", "{# {{ x }} {% if %} #}x", "{#-#}a {#- -#} b",
    "  {% if 1 %}\n  a\n  {% endif %}\n  b", "x\n\t{% if 1 %}y{% endif %}\n\nz", "  {%+ if 1 %}a{% endif %}", "a\n  {{ 1 }}\n b",
    "a {%- if 1 -%} b {%- endif -%} c", "a {{- 1 -}} b", "a\n\n{{- 1 -}}\n\nb", "{% if 1 +%}\na{% endif %}", "x {%- set a = 1 %}\n\n y",
    "a\n", "a\n\n", "\na", "{% if 1 %}\n\n a{% endif %}\n", "a\r\nb\rc", "{{ 'a\r\nb' }}", "x  {% set a = 1 %}\ny", "\u00a0{% set a = 1 %}y", "a\n\u00a0{% set a = 1 %}y",
    "{{ {'a': {'b': '}}'}}['a']['b'] }}", "{{ '{% x %}' }}", "{ {a} }", "{{ '}}' }}{{ \"%}\" }}", "100% {a: b}",
    "{{ messages[0].content }}{{ messages[0]['role'] }}{{ messages | length }}", "{{ tools }}{{ tools is none }}{{ tools is defined }}",
    "{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}", "{{ messages }}", "{{ messages | tojson(indent=2) }}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content }}{% endfor %}", "{{ messages | map(attribute='role') | join('/') }}",
    "{{ messages[0] == messages[0] }}{{ messages[-1] == messages[0] }}{{ messages[0] in messages }}", "{% set messages = messages[1:] %}{{ messages | length }}",
    "{{ extra_flag }}{{ extra_flag is true }}", "{% set loop_messages = messages %}{% for m in loop_messages[::-1] %}{{ m.role }}{% endfor %}",
    "{% if x %}", "{% endif %}", "{% for x %}", "{% unknown %}", "{% include 'a' %}", "{% raw %}a{% endraw %}", "{% for x in [1] recursive %}{% endfor %}", "{{ }}", "{% set %}", "{{ 'a' | upper", "{# open",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% block x %}{% endblock %}", "{% set true = 1 %}",
]

# Templates that are outside our subset on purpose: Jinja2 renders them, we refuse them when the model is imported.
OUTSIDE = {"lipsum()", "{% raw %}a{% endraw %}", "{% for x in [1] recursive %}{% endfor %}", "{% block x %}{% endblock %}",
           "{% set true = 1 %}", "'a'.encode()", '"a".__class__', "{}.__class__"}

TOOL = {"type": "function", "function": {"name": "lookup", "description": "Finds a <claim> & its 'state'",
        "parameters": {"type": "object", "properties": {"id": {"type": "string", "enum": ["a", "é"]}}, "required": ["id"]}}}


def call(arguments, number=1):
    return [{"id": "abcdef%03d" % i, "type": "function", "function": {"name": "lookup", "arguments": arguments}} for i in range(number)]


def conversations():
    say = lambda role, text: {"role": role, "content": text}
    texts = ["Hello", "  padded \n", "multi\nline\n\ntext", "é 日本語 🚀", "", "<|im_end|> {{ x }} {% y %}", "a </think> b", "quote \" and \\ back"]
    for text in texts:
        yield [say("user", text), say("assistant", text + "!")], None
        yield [say("system", text), say("user", "q"), say("assistant", text)], None
        yield [say("user", text)], None
    yield [say("user", "1"), say("assistant", "2"), say("user", "3"), say("assistant", "4")], None
    yield [say("system", "s"), say("user", "1"), say("assistant", "2"), say("user", "3")], [TOOL]
    yield [say("user", "1"), say("user", "2")], None
    yield [say("assistant", "1")], None
    yield [say("system", "only")], None
    yield [], None
    for arguments, number in itertools.product(['{"id": "a"}', {"id": "a", "n": [1, 2.5, None, True, "é"]}], [1, 2]):
        made = {"role": "assistant", "content": None, "tool_calls": call(arguments, number)}
        for content in (None, "", "thinking"):
            chat = [say("user", "q"), dict(made, content=content)]
            chat += [{"role": "tool", "tool_call_id": "abcdef%03d" % i, "name": "lookup", "content": "r%d" % i} for i in range(number)]
            yield chat, [TOOL]
            yield chat + [say("assistant", "done")], [TOOL, TOOL]
            yield chat + [say("assistant", "done"), say("user", "more")], None
        yield [say("user", "q"), {"role": "assistant", "tool_calls": call(arguments, number)}], [TOOL]
    chance = random.Random(7)
    for _ in range(60):
        chat = [say("system", chance.choice(texts))] if chance.random() < 0.4 else []
        for turn in range(chance.randrange(1, 9)):
            chat.append(say("user" if turn % 2 == 0 else "assistant", "".join(chance.choice("ab \n\té日'\"<>&{}") for _ in range(chance.randrange(30)))))
        yield chat, [TOOL] if chance.random() < 0.3 else None


def cases():
    for line in EXPRESSIONS.strip().split("\n"):
        # A bar without spaces around it parts the expressions of a line.
        for expression in split_bars(line):
            yield {"template": "{{ " + expression + " }}", "name": expression}
    chat = [{"role": "user", "content": "Hi \"x\" é"}, {"role": "assistant", "content": "Yo"}]
    for statement in STATEMENTS:
        yield {"template": statement, "name": statement, "messages": chat, "bos_token": "<s>", "eos_token": "</s>",
               "extra": {"extra_flag": True}}
    for name in sorted(os.listdir(HERE)):
        if not name.endswith(".jinja"):
            continue
        with open(os.path.join(HERE, name), encoding="utf-8", newline="") as file:
            source = file.read()
        for (messages, tools), prompt in itertools.product(list(conversations()), (False, True)):
            for extra in ({}, {"tools_in_user_message": False, "date_string": "1 May 2025"}, {"builtin_tools": ["code_interpreter", "lookup"]}):
                if extra and name != "llama31.jinja":
                    continue
                yield {"template": source, "name": name, "messages": messages, "tools": tools, "extra": extra,
                       "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}


def split_bars(line):
    parts, at = [""], 0
    while at < len(line):
        bar = line[at] == "|" and (at == 0 or line[at - 1] != " ") and (at + 1 == len(line) or line[at + 1] != " ")
        if bar:
            parts.append("")
        else:
            parts[-1] += line[at]
        at += 1
    return [part for part in parts if part.strip()]


def main():
    all_cases = list(cases())
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "cases.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(all_cases, file, ensure_ascii=False)
        made = subprocess.run([sys.argv[1], path], stdout=subprocess.PIPE, check=True).stdout
    results = json.loads(made)
    assert len(results) == len(all_cases)
    wrong = 0
    rendered = 0
    for case, ours in zip(all_cases, results):
        theirs = expected(case)
        if case["name"] in OUTSIDE:
            agree = ours.get("error") == "format"
        elif "text" in theirs:
            agree = ours.get("text") == theirs["text"]
            rendered += 1
        elif theirs["error"] == "raised":
            agree = ours.get("error") == "raised" and ours["message"] == theirs["message"]
        else:
            agree = ours.get("error") in ("failed", "format")
        if not agree:
            wrong += 1
            if wrong <= 40:
                print("differs:", repr(case["name"]), json.dumps(case.get("messages"), ensure_ascii=False)[:300] if case["name"].endswith(".jinja") else "")
                print("   Jinja2:", theirs)
                print("   ours:  ", ours)
    print("%d cases, %d of them rendered, %d differ (Jinja2 %s)" % (len(all_cases), rendered, wrong, jinja2.__version__))
    sys.exit(1 if wrong else 0)


main()
