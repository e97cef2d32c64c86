// SPDX-License-Identifier: Apache-2.0
/** What regular expressions and GBNF may say, and how they are refused. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { AnswerFormat } from "../../../src/constraint/compiler.ts";
import { Failure } from "../../../src/errors.ts";
import { constraintFor } from "../../fixtures/constraint_walks.ts";

function allows(format: AnswerFormat, answer: string): boolean {
  const matcher = constraintFor(format).matcher(new Set());
  matcher.read(new TextEncoder().encode(answer));
  return matcher.accepting;
}

const regex = (regex: string): AnswerFormat => ({ kind: "regex", regex });
const grammar = (grammar: string): AnswerFormat => ({ kind: "grammar", grammar });

Deno.test("regular expressions match as JavaScript's do", () => {
  const cases: [string, string[], string[]][] = [
    ["\\d{3}-\\d{4}", ["555-1234"], ["555-123", "5551234"]],
    ["^(yes|no)$", ["yes", "no"], ["yesno", ""]],
    ["[^\\w\\s]", ["!", "é", "日"], ["a", " ", "_"]],
    ["[\\d.-]+", ["1.5-2"], ["a"]],
    ["[a\\]-]+", ["a]-"], ["b"]],
    ["a{0}b", ["b"], ["ab"]],
    ["a{,2}", ["a{,2}"], ["a"]],
    ["(?<year>\\d+)(?:x|y)?", ["12", "12x"], ["x"]],
    ["\\u00e9\\x41\\u{1f600}", ["éA😀"], ["e"]],
    ["a+?b*?", ["aab"], ["b"]],
    [".", ["é", "😀"], ["\n", "ab"]],
    ["\\$\\^\\.\\(", ["$^.("], ["$^x("]],
    ["", [""], ["a"]],
  ];
  for (const [source, yes, no] of cases) {
    const judge = new RegExp(`^(?:${source})$`, source.includes("{,") ? "" : "u");
    for (const text of [...yes, ...no]) {
      const expected = yes.includes(text);
      assertEquals(judge.test(text), expected, `${source} on ${text} by JavaScript`);
      assertEquals(allows(regex(source), text), expected, `${source} on ${text}`);
    }
  }
});

Deno.test("what isn't regular, and what isn't an expression, is refused with its place", () => {
  const cases: [string, RegExp][] = [
    ["a(?=b)", /looks ahead.*character/],
    ["(?<!a)b", /looks behind/],
    ["(a)\\1", /refers back/],
    ["\\bword", /word border/],
    ["\\p{L}", /property class/],
    ["a**", /repetition/],
    ["*a", /nothing to repeat/],
    ["(a", /\( that isn't closed/],
    ["a)", /\) that closes nothing/],
    ["[a", /\[ that isn't closed/],
    ["[b-a]", /lower to a higher/],
    ["a{3,2}", /wrong order/],
    ["a{999999}", /more than/],
    ["a^b", /\^ that isn't at the start/],
    ["a$b", /\$ that isn't at the end/],
    ["a\\", /ends with/],
    ["\\q", /escape \\q/],
    ["(".repeat(200), /nests deeper/],
  ];
  for (const [source, sentence] of cases) {
    const error = assertThrows(() => constraintFor(regex(source)), Failure, undefined, source);
    assert(sentence.test(error.message), `${source}: ${error.message}`);
  }
});

Deno.test("GBNF: rules, classes, groups, repetitions, comments", () => {
  const source = `# A list of moves
root  ::= move ("," ws move){1,3} # at least two
move  ::= [a-h] [1-8] promotion? |
          "O-O" "-O"?
promotion ::= "=" [QRBN]
ws ::= [ \\t]*
`;
  assert(allows(grammar(source), "e4, d5") && allows(grammar(source), "O-O-O,e8=Q"));
  assert(!allows(grammar(source), "e4") && !allows(grammar(source), "e9,d5"));
  const escapes = 'root ::= "\\"\\\\\\n\\x41\\u00e9" [^\\]a-c] .';
  assert(allows(grammar(escapes), '"\\\nAé!\n') && !allows(grammar(escapes), '"\\\nAéa!'));
  const recursive = 'root ::= "(" root ")" | "x"';
  assert(allows(grammar(recursive), "((x))") && !allows(grammar(recursive), "((x)"));
});

Deno.test("GBNF that is wrong is refused with its line", () => {
  const cases: [string, RegExp][] = [
    ['rot ::= "a"', /no rule "root"/],
    ["root ::= missing", /no rule "missing"/],
    ['root ::= "a\nb"', /literal or class that isn't closed.*line/],
    ['root ::= "a" )', /\) that closes nothing \(line 1\)/],
    ['root ::= ("a"', /\( that isn't closed/],
    ['root ::= "a"\nroot ::= "b"', /two rules "root" \(line 2\)/],
    ['root = "a"', /no ::= behind "root"/],
    ['root ::= "\\q"', /escape \\q/],
    ["root ::= [z-a]", /lower to a higher/],
    ['root ::= "a"{5,2}', /impossible bounds/],
    ["root ::= %", /"%" where it isn't expected/],
  ];
  for (const [source, sentence] of cases) {
    const error = assertThrows(() => constraintFor(grammar(source)), Failure, undefined, source);
    assert(sentence.test(error.message), `${source}: ${error.message}`);
  }
});
