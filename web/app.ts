// SPDX-License-Identifier: Apache-2.0
/** The playground: asks the server that it came from, and shows what each answer came to. */
import { AnswerView } from "./answer.ts";
import { type ModelInfo, type Question, Server, ServerError } from "./api.ts";
import { type Lane, lanesOf, messagesOf, type Turn } from "./conversation.ts";
import { Documents } from "./documents.ts";
import { byId, h } from "./dom.ts";
import { verdict, whole } from "./figures.ts";
import { follow, followAgain } from "./follow.ts";
import { sampleDocument } from "./sample.ts";

/** How often a server that isn't ready is asked again. */
const AGAIN_MS = 1000;

const question = byId<HTMLTextAreaElement>("question");
const log = byId("log");

class Playground {
  readonly #server = new Server();
  readonly #documents = new Documents(this.#server, (sentence) => this.#complain(sentence));
  #model: ModelInfo | null = null;
  #turns: Turn[] = [];
  /** Ends the question that is being answered; null: none is. */
  #asking: AbortController | null = null;

  constructor() {
    this.#restoreKey();
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask();
    });
    question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#ask();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#asking?.abort();
    });
    byId("stop").addEventListener("click", () => this.#asking?.abort());
    byId("restart").addEventListener("click", () => this.#restart());
    byId("sample").addEventListener("click", () => {
      const { source, question: asked } = sampleDocument();
      this.#documents.add(source);
      question.value = asked;
      question.focus();
    });
    void this.#connect();
  }

  #restoreKey(): void {
    const field = byId<HTMLInputElement>("key");
    field.value = this.#server.key = sessionStorage.getItem("key") ?? "";
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") byId("settings").hidePopover();
    });
    field.addEventListener("change", () => {
      this.#server.key = field.value.trim();
      sessionStorage.setItem("key", this.#server.key);
      this.#complain(null);
      void this.#connect();
    });
  }

  /** Finds out what the server serves; asks again while it isn't ready. */
  async #connect(): Promise<void> {
    const line = byId("model");
    try {
      const { ready, sentence } = await this.#server.health();
      if (ready) {
        this.#model = await this.#server.model();
        const { id, contextTokens } = this.#model;
        line.textContent = `${id}, ${whole(contextTokens)} tokens of context`;
        return;
      }
      line.textContent = sentence;
    } catch (error) {
      if (this.#wantsKey(error)) return;
      line.textContent = (error as Error).message;
    }
    setTimeout(() => this.#connect(), AGAIN_MS);
  }

  #wantsKey(error: unknown): boolean {
    if (!(error instanceof ServerError) || error.status !== 401) return false;
    byId("model").textContent = "Needs an API key";
    this.#complain("This server asks for an API key: enter it in the settings.");
    byId("settings").showPopover();
    byId("key").focus();
    return true;
  }

  #complain(sentence: string | null): void {
    const alert = byId("alert");
    alert.hidden = sentence === null;
    alert.textContent = sentence ?? "";
  }

  #restart(): void {
    this.#asking?.abort();
    this.#turns = [];
    log.replaceChildren();
    byId("welcome").hidden = false;
    this.#complain(null);
    question.focus();
  }

  async #ask(): Promise<void> {
    const asked = question.value.trim();
    if (asked === "" || this.#asking !== null) return;
    this.#complain(null);
    if (this.#model === null) return this.#complain("The server isn't ready yet.");
    const turn: Turn = { question: asked, sources: this.#documents.take(), answers: {} };
    this.#turns.push(turn);
    question.value = "";
    byId("welcome").hidden = true;
    const lanes = lanesOf(attentionChoice());
    const elements = showTurn(turn, lanes.length > 1);
    this.#busy(new AbortController());
    const views = await this.#answers(lanes, turn, elements.at(-1)!);
    this.#busy(null);
    // A new chat was begun meanwhile.
    if (!this.#turns.includes(turn)) return;
    if (Object.keys(turn.answers).length === 0) this.#takeBack(turn, elements);
    else if (views.length === 2) compare(views, elements.at(-1)!);
    question.focus();
  }

  /** One after the other, so that none slows the other down. */
  async #answers(lanes: Lane[], turn: Turn, place: HTMLElement): Promise<AnswerView[]> {
    const asking = this.#asking!;
    const whole: AnswerView[] = [];
    for (const lane of lanes) {
      if (asking.signal.aborted) break;
      const view = new AnswerView(lane);
      place.append(view.element);
      follow();
      if (await this.#answer(lane, view, asking.signal)) whole.push(view);
      if (view.text !== "") turn.answers[lane] = view.text;
      follow();
    }
    return whole;
  }

  /** @returns whether the answer is whole */
  async #answer(lane: Lane, view: AnswerView, signal: AbortSignal): Promise<boolean> {
    let note: string | null = null;
    try {
      for await (const arrival of this.#server.ask(this.#questionFor(lane), signal)) {
        if ("text" in arrival) view.add(arrival.text);
        else if ("read" in arrival) view.read(arrival.read);
        else if ("usage" in arrival) view.usage = arrival.usage;
        else if (arrival.end === "length") note = "Cut off at the longest answer (Settings).";
        follow();
      }
      if (view.text === "") view.add("(The model said nothing.)");
      view.end(note);
      return true;
    } catch (error) {
      if (signal.aborted) {
        view.end("Stopped.");
      } else {
        view.end((error as Error).message, true);
        if (!this.#wantsKey(error)) this.#complain((error as Error).message);
      }
      return false;
    }
  }

  #questionFor(lane: Lane): Question {
    return {
      model: this.#model!.id,
      messages: messagesOf(this.#turns, lane),
      attention: lane,
      budget: Number(byId<HTMLSelectElement>("budget").value),
      temperature: byId<HTMLInputElement>("temperature").valueAsNumber || 0,
      maxTokens: byId<HTMLInputElement>("max-tokens").valueAsNumber || 1024,
    };
  }

  #busy(asking: AbortController | null): void {
    this.#asking = asking;
    byId("send").hidden = asking !== null;
    byId("stop").hidden = asking === null;
  }

  /** Nothing was answered: the question and its documents can be asked again. */
  #takeBack(turn: Turn, elements: HTMLElement[]): void {
    this.#turns = this.#turns.filter((other) => other !== turn);
    for (const element of elements) element.remove();
    byId("welcome").hidden = this.#turns.length > 0;
    this.#documents.sources.unshift(...turn.sources);
    this.#documents.show();
    if (question.value === "") question.value = turn.question;
  }
}

function attentionChoice(): string {
  return document.querySelector<HTMLInputElement>("[name=attention]:checked")!.value;
}

function showTurn({ question, sources }: Turn, both: boolean): HTMLElement[] {
  const names = sources.map(({ name, tokens }) =>
    tokens === null ? name : `${name} (${whole(tokens)} tokens)`
  );
  const elements = [
    h("h2.question", {}, question),
    ...(names.length === 0 ? [] : [h("p.sources", {}, `About ${names.join(", ")}`)]),
    h("div.turn"),
  ];
  if (both) {
    elements.at(-1)!.classList.add("both");
    for (const element of elements) element.classList.add("wide");
  }
  log.append(...elements);
  followAgain();
  return elements;
}

function compare([full, sampled]: AnswerView[], place: HTMLElement): void {
  const figures = (view: AnswerView) => ({
    text: view.text,
    usage: view.usage!,
    timing: view.timing!,
  });
  place.append(h("p.verdict", {}, verdict(figures(full!), figures(sampled!))));
  follow();
}

new Playground();
