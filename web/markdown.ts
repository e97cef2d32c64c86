// SPDX-License-Identifier: Apache-2.0
/** Markdown as elements. HTML in it is shown as text, links open elsewhere, images stay links. */
import { lexer, type Token, type Tokens } from "marked";
import { h } from "./dom.ts";

/** The elements of a text. */
export function markdown(text: string): Node[] {
  return lexer(text, { gfm: true, breaks: true }).map(block);
}

function blocks(tokens: Token[] | undefined): Node[] {
  return (tokens ?? []).map(block);
}

function block(token: Token): Node {
  switch (token.type) {
    case "heading":
      return h("h4", {}, ...inlines(token.tokens));
    case "paragraph":
      return h("p", {}, ...inlines(token.tokens));
    case "code":
      return h("pre", { tabIndex: 0 }, h("code", {}, token.text));
    case "blockquote":
      return h("blockquote", {}, ...blocks(token.tokens));
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return h("hr");
    case "space":
      return new Text("");
    case "text":
      return token.tokens ? h("span", {}, ...inlines(token.tokens)) : new Text(token.text);
    default:
      return new Text(token.raw);
  }
}

function list({ ordered, start, items }: Tokens.List): Node {
  const entries = items.map((item) => h("li", {}, ...blocks(item.tokens)));
  return ordered ? h("ol", { start: Number(start) || 1 }, ...entries) : h("ul", {}, ...entries);
}

function table({ header, rows }: Tokens.Table): Node {
  const row = (cells: Tokens.TableCell[], tag: "th" | "td") =>
    h("tr", {}, ...cells.map((cell) => h(tag, {}, ...inlines(cell.tokens))));
  const body = h("tbody", {}, ...rows.map((cells) => row(cells, "td")));
  return h("table", {}, h("thead", {}, row(header, "th")), body);
}

function inlines(tokens: Token[] | undefined): Node[] {
  return (tokens ?? []).map(inline);
}

function inline(token: Token): Node {
  switch (token.type) {
    case "strong":
      return h("strong", {}, ...inlines(token.tokens));
    case "em":
      return h("em", {}, ...inlines(token.tokens));
    case "del":
      return h("s", {}, ...inlines(token.tokens));
    case "codespan":
      return h("code", {}, token.text);
    case "br":
      return h("br");
    case "link":
    case "image":
      return link(token.href, token.type === "link" ? inlines(token.tokens) : [token.text]);
    case "escape":
      return new Text(token.text);
    case "text":
      return token.tokens ? h("span", {}, ...inlines(token.tokens)) : new Text(token.text);
    default:
      return new Text(token.raw);
  }
}

/** Only links to the web: others, such as javascript:, are their text. */
function link(href: string, content: (Node | string)[]): Node {
  if (!/^https?:\/\//i.test(href)) return h("span", {}, ...content);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...content);
}
