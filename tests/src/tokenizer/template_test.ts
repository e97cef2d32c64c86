// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { strftime } from "../../../src/tokenizer/strftime.ts";
import { ChatTemplate } from "../../../src/tokenizer/template.ts";

const NOW = new Date(2026, 2, 5, 14, 7, 9);

function render(source: string, variables: Record<string, unknown> = {}): string {
  return new ChatTemplate(source, () => NOW).render(variables);
}

function refused(source: string, variables: Record<string, unknown> = {}): Failure {
  return assertThrows(() => render(source, variables), Failure);
}

Deno.test("blocks are trimmed as transformers does", () => {
  assertEquals(render("a\n  {% if true %}\nb\n  {% endif %}\nc"), "a\nb\nc");
  assertEquals(render("{% for x in [1, 2] %}\n  {{ x }}\n{% endfor %}\n"), "  1\n  2\n");
});

Deno.test("raise_exception gives its sentence and nothing else", () => {
  const failure = refused("{{ raise_exception('Roles must alternate!') }}");
  assertEquals([failure.kind, failure.message], ["invalid", "Roles must alternate!"]);
});

Deno.test("errors while rendering are the request's, with the reason", () => {
  const failure = refused("{{ missing + 'a' }}");
  assertEquals(failure.kind, "invalid");
  assertStringIncludes(failure.message, "cannot render these messages: ");
});

Deno.test("a template that cannot be parsed is the model's failure", () => {
  const sources = ["{% if %}", "{% for %}x", "{{ 'a", "{{ a b }}", "{% unknown %}", "{{"];
  for (const source of sources) {
    const failure = assertThrows(() => new ChatTemplate(source), Failure, "cannot be parsed");
    assertEquals(failure.kind, "model", source);
  }
  const huge = assertThrows(() => new ChatTemplate("a".repeat(1 << 20)), Failure);
  assertEquals(huge.kind, "model");
  assertThrows(() => new ChatTemplate(" ".repeat(100_000)), Failure);
});

Deno.test("dates are written in English with the given clock", () => {
  assertEquals(render("{{ strftime_now('%d %b %Y') }}"), "05 Mar 2026");
  assertEquals(
    render("{{ strftime_now('%d %b %Y') }}|{{ date_string }}", { date_string: "now" }),
    "05 Mar 2026|now",
  );
  const all = "%A %a %B %b %d %-d %e %H %I %M %S %p %j %y %Y %m %F %T %% %Q";
  assertEquals(
    strftime(NOW, all),
    "Thursday Thu March Mar 05 5  5 14 02 07 09 PM 064 26 2026 03 2026-03-05 14:07:09 % %Q",
  );
});

Deno.test("undefined values pass text filters as empty texts, as in Python", () => {
  assertEquals(render("[{{ nothing | trim }}{{ nothing | upper }}{{ nothing | join }}]"), "[]");
  assertEquals(render("{% for x in nothing | list %}x{% endfor %}"), "");
  assertEquals(render("{{ nothing | default('d') }}"), "d");
});

Deno.test("map applies a filter by name, and still maps attributes", () => {
  assertEquals(render("{{ [' a ', 'b '] | map('trim') | join('-') }}"), "a-b");
  assertEquals(render("{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | join(',') }}"), "1,2");
});

Deno.test("filters evaluate their operand once", () => {
  const counting =
    "{% set n = namespace(i=0) %}{% macro f() %}{% set n.i = n.i + 1 %}x{% endmacro %}" +
    "{% set y = f() | trim | upper | lower %}{{ n.i }}";
  assertEquals(render(counting), "1");
});

Deno.test("variables of a request may have the names of functions", () => {
  assertEquals(
    render("{{ range }}{{ strftime_now }}", { range: 1, strftime_now: 2, namespace: 3 }),
    "12",
  );
});

Deno.test("a template that does not end, or fills memory, is stopped", () => {
  const loops = "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}" +
    "{{ a }}{% endfor %}{% endfor %}{% endfor %}";
  const sources = [
    loops,
    loops.replace("{{ a }}", ""),
    "{% for a in range(10**9) %}{% endfor %}",
    "{% set n = namespace(s='aaaaaaaa') %}{% for a in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for a in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{{ 'a\nb' | indent(1000000000) }}",
    "{{ [1] | tojson(indent=1000000000) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
  ];
  for (const source of sources) {
    const start = performance.now();
    const failure = refused(source);
    assertEquals(failure.kind, "invalid", source);
    // The bound is 10 s; a busy machine may run well over that between two looks at the clock.
    assert(performance.now() - start < 20_000, source);
  }
});
