// SPDX-License-Identifier: Apache-2.0
/** Texts to ask about: chosen, dropped or pasted. */
import type { Server } from "./api.ts";
import type { SourceText } from "./conversation.ts";
import { byId, h } from "./dom.ts";
import { whole } from "./figures.ts";

/** A pasted text of so many characters is a document and not a question. */
const LONG_PASTE = 1500;
/** As much as the server takes in one body. */
const MOST_BYTES = 30_000_000;

export class Documents {
  sources: SourceText[] = [];
  readonly #server: Server;
  readonly #complain: (sentence: string) => void;

  constructor(server: Server, complain: (sentence: string) => void) {
    this.#server = server;
    this.#complain = complain;
    this.#listenForFiles();
    this.#listenForDrops();
    this.#listenForPastes();
  }

  add(source: SourceText): void {
    this.sources.push(source);
    this.show();
    this.#server.countTokens(source.text).then((tokens) => {
      source.tokens = tokens;
      this.show();
    }, (error) => this.#complain(error.message));
  }

  /** Hands all of them over: they belong to a question now. */
  take(): SourceText[] {
    const taken = this.sources;
    this.sources = [];
    this.show();
    return taken;
  }

  show(): void {
    byId("documents").replaceChildren(...this.sources.map((source) => {
      const remove = h("button", {
        type: "button",
        textContent: "×",
        title: "Remove",
        aria: { label: `Remove ${source.name}` },
      });
      remove.addEventListener("click", () => {
        this.sources = this.sources.filter((other) => other !== source);
        this.show();
        byId("question").focus();
      });
      const size = source.tokens === null ? "counting …" : `${whole(source.tokens)} tokens`;
      return h("li", {}, h("b", {}, source.name), h("span", {}, size), remove);
    }));
  }

  async #addFiles(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      if (file.size > MOST_BYTES) {
        this.#complain(`${file.name} is too large: the server takes texts of up to 30 MB.`);
        continue;
      }
      const text = await file.text();
      if (text.includes("\0")) this.#complain(`${file.name} isn't a text.`);
      else if (text.trim() === "") this.#complain(`${file.name} is empty.`);
      else this.add({ name: file.name, text, tokens: null });
    }
  }

  #listenForFiles(): void {
    const input = byId<HTMLInputElement>("file");
    byId("attach").addEventListener("click", () => input.click());
    input.addEventListener("change", async () => {
      await this.#addFiles(input.files ?? []);
      input.value = "";
      byId("question").focus();
    });
  }

  #listenForDrops(): void {
    const dropping = (on: boolean) => document.body.classList.toggle("dropping", on);
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      dropping(true);
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) dropping(false);
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      dropping(false);
      const files = event.dataTransfer?.files ?? [];
      const text = event.dataTransfer?.getData("text") ?? "";
      if (files.length > 0) void this.#addFiles(files);
      else if (text.trim() !== "") this.add({ name: "Dropped text", text, tokens: null });
    });
  }

  #listenForPastes(): void {
    byId("question").addEventListener("paste", (event) => {
      const files = event.clipboardData?.files ?? [];
      const text = event.clipboardData?.getData("text") ?? "";
      if (files.length === 0 && text.length < LONG_PASTE) return;
      event.preventDefault();
      if (files.length > 0) void this.#addFiles(files);
      else this.add({ name: "Pasted text", text, tokens: null });
    });
  }
}
