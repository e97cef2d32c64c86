// SPDX-License-Identifier: Apache-2.0
/** One answer on the page: its text as it comes, and its figures when it is whole. */
import type { Usage } from "./api.ts";
import type { Lane } from "./conversation.ts";
import { h } from "./dom.ts";
import { type Figure, figures, type Timing } from "./figures.ts";
import { markdown } from "./markdown.ts";

const TITLES: Record<Lane, string> = { auto: "Auto", full: "Full", sketch: "Sketch" };

export class AnswerView {
  readonly element: HTMLElement;
  text = "";
  usage: Usage | null = null;
  timing: Timing | null = null;
  readonly #title: HTMLElement;
  readonly #text: HTMLElement;
  readonly #started = performance.now();
  #frame = 0;
  #read = 0;
  readonly #clock: ReturnType<typeof setInterval>;

  constructor(lane: Lane) {
    this.#title = h("span", {}, "reading …");
    this.#clock = setInterval(() => this.#wait(), 1000);
    this.#text = h("div.text.waiting");
    this.element = h(
      "article.answer",
      { aria: { busy: "true", label: `Answer, ${TITLES[lane]}` } },
      h("h3", {}, TITLES[lane], this.#title),
      this.#text,
    );
    this.element.dataset.lane = lane;
  }

  /** So much of the prompt was read. */
  read(share: number): void {
    this.#read = share;
    if (this.text === "") this.#wait();
  }

  #wait(): void {
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    const share = this.#read > 0 ? ` ${Math.floor(100 * this.#read)} %,` : "";
    this.#title.textContent = `reading …${share} ${seconds} s`;
  }

  add(text: string): void {
    const ms = performance.now() - this.#started;
    this.timing = { firstMs: this.timing?.firstMs ?? ms, lastMs: ms };
    if (this.text === "") {
      clearInterval(this.#clock);
      this.#title.textContent = "answering …";
    }
    this.text += text;
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#show());
  }

  /** It is whole, or as whole as it gets: `note` says why it isn't. */
  end(note: string | null, bad = false): void {
    clearInterval(this.#clock);
    cancelAnimationFrame(this.#frame);
    this.#show();
    this.#text.classList.remove("waiting");
    this.element.ariaBusy = "false";
    const { usage, timing } = this;
    this.#title.textContent = usage === null ? "" : describe(usage);
    if (note !== null) this.element.append(h(bad ? "p.note.bad" : "p.note", {}, note));
    if (usage !== null && timing !== null) this.element.append(table(figures(usage, timing)));
  }

  #show(): void {
    this.#frame = 0;
    this.#text.replaceChildren(...markdown(this.text));
  }
}

function describe({ sounder, completion_tokens: tokens }: Usage): string {
  const how = sounder.attention === "full" ? "read everything" : `sampled by ${sounder.attention}`;
  return `${how}, ${tokens} tokens`;
}

function table(all: Figure[]): HTMLElement {
  const cells = all.map(({ value, label, share, kind }) => {
    const cell = h("div", {}, h("dt", {}, label), h("dd", {}, value));
    if (kind !== undefined) cell.classList.add(kind);
    if (share !== undefined) {
      const gauge = h("span.gauge", { aria: { hidden: "true" } });
      gauge.style.setProperty("--share", String(share));
      cell.append(gauge);
    }
    return cell;
  });
  return h("dl.figures", {}, ...cells);
}
