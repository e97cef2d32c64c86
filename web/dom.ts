// SPDX-License-Identifier: Apache-2.0
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Makes and finds elements. Text goes in as text: nothing here reads HTML. */

type Child = Node | string;

/** An element with classes ("p.note.small"), properties and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K | `${K}.${string}`,
  properties: Partial<HTMLElementTagNameMap[K]> & { aria?: Record<string, string> } = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name!) as HTMLElementTagNameMap[K];
  const { aria = {}, ...rest } = properties;
  Object.assign(element, rest);
  for (const [key, value] of Object.entries(aria)) element.setAttribute(`aria-${key}`, value);
  if (classes.length > 0) element.className = classes.join(" ");
  element.append(...children);
  return element;
}

/** The element of the page with this id; its absence is a bug. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}
