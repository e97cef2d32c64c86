// SPDX-License-Identifier: Apache-2.0
// The playground in real Chromium, over a service whose answers the test writes.
import { Buffer } from "node:buffer";
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type AppOptions, createApp } from "../../routes/app.ts";
import { readPage } from "../../routes/page.ts";
import { buildWeb } from "../../scripts/web.ts";
import { EXACT_POLICY } from "../../src/engine/attention.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import { NO_SAMPLED } from "../../src/generate/sampled_usage.ts";
import type { GenerationEvent } from "../../src/types.ts";
import { chromiumPath, type Tab, type TabOptions, TestBrowser } from "../fixtures/browser.ts";
import { done, FakeService, finish, gate, text } from "../fixtures/fake_service.ts";

const path = await chromiumPath();
const FOLDER = new URL("../../build/web", import.meta.url).pathname;

/** Opens the playground of a service. */
async function playground(
  browser: TestBrowser,
  service: FakeService,
  use: (tab: Tab, url: string) => Promise<void>,
  { app: appOptions = {}, tab: tabOptions = {} }: {
    app?: Partial<AppOptions>;
    tab?: TabOptions;
  } = {},
): Promise<void> {
  const page = await readPage(FOLDER);
  const app = createApp(service, { version: "1.2.3", page, ...appOptions });
  const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
  await using server = Deno.serve(options, (request, info) => app.fetch(request, info));
  const url = `http://127.0.0.1:${server.addr.port}/`;
  const tab = await browser.open(url, tabOptions);
  try {
    await use(tab, url);
    assertEquals(tab.errors, []);
    for (const request of tab.requests) assert(request.startsWith(url), `asked ${request}`);
  } finally {
    await tab.page.context().close();
  }
}

async function connected({ page }: Tab): Promise<void> {
  await page.locator("#model", { hasText: "fake/model, 4,096 tokens of context" }).waitFor();
}

/** An answer that sampled. */
function sampledAnswer(said: string): GenerationEvent[] {
  const sampled = { ...NO_SAMPLED, tokens: 2, rowsRead: 40, rowsTotal: 2000, squaredError: 0.0008 };
  return [
    text(0, said),
    finish(0),
    done({ promptTokens: 1000, cachedTokens: 900, attention: "sketch", sampled }),
  ];
}

Deno.test({
  name: "the playground in Chromium",
  ignore: path === null,
  // Playwright keeps timers and pipes of its own until the browser has gone.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(t) {
    assert(await buildWeb());
    await using browser = await TestBrowser.start(path!);

    await t.step("asks by keyboard alone, and shows text and figures", async () => {
      const service = new FakeService(() => sampledAnswer("**Five** codes."));
      await playground(browser, service, async (tab) => {
        await connected(tab);
        const { page } = tab;
        await page.keyboard.type("How many");
        await page.keyboard.press("Shift+Enter");
        await page.keyboard.type("codes?");
        await page.keyboard.press("Enter");
        await page.locator(".figures").waitFor();
        assertEquals(service.chats[0]!.messages.at(-1)!.content, "How many\ncodes?");
        assertEquals(await page.locator(".text strong").textContent(), "Five");
        const figures = (await page.locator(".figures dd").allTextContents()).slice(2);
        assertEquals(figures, ["900", "2 %", "± 2 %"]);
        assertMatch(await page.locator(".figures").innerText(), /rows read, 20 of 1,000/);
        await page.keyboard.type("And then?");
        await page.keyboard.press("Enter");
        await page.locator(".figures").nth(1).waitFor();
        assertEquals(service.chats[1]!.messages.map((message) => message.content), [
          "How many\ncodes?",
          "**Five** codes.",
          "And then?",
        ]);
      });
    });

    await t.step("side by side asks full, then sketch, and compares", async () => {
      const service = new FakeService((request) =>
        request.attention.strategy === "full"
          ? [text(0, "7"), finish(0), done({ promptTokens: 1000 })]
          : sampledAnswer("7")
      );
      service.policy = { ...EXACT_POLICY, index: { ...NO_INDEX, sketchBits: 2 } };
      await playground(browser, service, async (tab) => {
        await connected(tab);
        const { page } = tab;
        await page.getByRole("radio", { name: "Auto" }).focus();
        for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
        await page.locator("#question").fill("Which?");
        await page.keyboard.press("Enter");
        const verdict = page.locator(".verdict");
        await verdict.waitFor();
        assertMatch((await verdict.textContent())!, /^Both answers are the same; .* read 2 % of/);
        const asked = service.requests.map((request) => request.attention.strategy);
        assertEquals(asked, ["full", "sketch"]);
      });
    });

    await t.step("takes a pasted and a chosen document, with their tokens", async () => {
      const service = new FakeService(() => sampledAnswer("Yes."));
      await playground(browser, service, async (tab) => {
        await connected(tab);
        const { page } = tab;
        const pasted = "word ".repeat(400);
        await page.evaluate(`{
          const data = new DataTransfer();
          data.setData("text", ${JSON.stringify(pasted)});
          const init = { clipboardData: data, bubbles: true, cancelable: true };
          document.getElementById("question").dispatchEvent(new ClipboardEvent("paste", init));
        }`);
        await page.getByText("2,000 tokens").waitFor();
        const buffer = Buffer.from("A file.");
        await page.setInputFiles("#file", { name: "notes.md", mimeType: "text/plain", buffer });
        await page.getByText("7 tokens").waitFor();
        await page.getByRole("button", { name: "Remove notes.md" }).click();
        await page.locator("#question").fill("Well?");
        await page.keyboard.press("Enter");
        await page.locator(".figures").waitFor();
        assertEquals(service.chats[0]!.messages[0]!.content, `${pasted.trim()}\nWell?`);
        assertEquals(
          await page.locator(".sources").textContent(),
          "About Pasted text (2,000 tokens)",
        );
        assertEquals(await page.locator("#documents li").count(), 0);
      });
    });

    await t.step("takes a dropped text", async () => {
      await playground(browser, new FakeService(), async (tab) => {
        await connected(tab);
        await tab.page.evaluate(`{
          const data = new DataTransfer();
          data.items.add(new File(["dropped text"], "log.txt", { type: "text/plain" }));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }`);
        await tab.page.getByText("log.txt").waitFor();
        await tab.page.getByText("12 tokens").waitFor();
      });
    });

    for (const way of ["Stop", "Escape"]) {
      await t.step(`${way} ends an answer, keeps what came and cancels the request`, async () => {
        const { opened, open } = gate();
        const service = new FakeService(async function* () {
          yield text(0, "Once upon");
          await opened;
        });
        await playground(browser, service, async (tab) => {
          await connected(tab);
          const { page } = tab;
          await page.keyboard.type("Tell");
          await page.keyboard.press("Enter");
          await page.getByText("Once upon").waitFor();
          if (way === "Stop") await page.getByRole("button", { name: "Stop" }).click();
          else await page.keyboard.press("Escape");
          await page.getByText("Stopped.").waitFor();
          await service.firstCancel;
          assert(await page.getByRole("button", { name: "Ask" }).isVisible());
        });
        open();
      });
    }

    await t.step("a new chat ends the answer that is coming, and starts empty", async () => {
      const { opened, open } = gate();
      const service = new FakeService(async function* () {
        await opened;
        yield text(0, "too late");
      });
      await playground(browser, service, async (tab) => {
        await connected(tab);
        const { page } = tab;
        await page.keyboard.type("Old question");
        await page.keyboard.press("Enter");
        await page.locator(".answer").waitFor();
        while (service.requests.length === 0) await page.waitForTimeout(5);
        await page.getByRole("button", { name: "New chat" }).click();
        await service.firstCancel;
        await page.getByRole("button", { name: "Ask" }).waitFor();
        assertEquals(await page.locator("#question").inputValue(), "");
        assertEquals(await page.locator(".answer, .question").count(), 0);
        assert(await page.getByText("Ask a long document.").isVisible());
      });
      open();
    });

    await t.step("a long prompt says how far it was read", async () => {
      const { opened, open } = gate();
      const service = new FakeService(async function* () {
        yield { type: "progress", processed: 420, cached: 0, total: 1000, ms: 5 };
        await opened;
        yield* sampledAnswer("Read.");
      });
      await playground(browser, service, async (tab) => {
        await connected(tab);
        await tab.page.keyboard.type("Read this");
        await tab.page.keyboard.press("Enter");
        await tab.page.getByText(/reading … 42 %, \d+ s/).waitFor();
        open();
        await tab.page.locator(".figures").waitFor();
      });
    });

    await t.step("an error is the server's sentence, and the question is not lost", async () => {
      const service = new FakeService();
      service.refusals.set(0, new Failure("too_many_requests", "The server is busy. Try later"));
      await playground(browser, service, async (tab) => {
        await connected(tab);
        const { page } = tab;
        await page.keyboard.type("Anyone there?");
        await page.keyboard.press("Enter");
        const alert = page.getByRole("alert");
        await alert.waitFor();
        assertEquals(await alert.textContent(), "The server is busy. Try later.");
        assertEquals(await page.locator("#question").inputValue(), "Anyone there?");
        assertEquals(await page.locator(".answer").count(), 0);
      });
    });

    await t.step("a server with keys gets one in the settings", async () => {
      const options = { app: { apiKeys: ["sk-right"] } };
      await playground(browser, new FakeService(() => sampledAnswer("In.")), async (tab) => {
        const { page } = tab;
        await page.getByRole("dialog", { name: "Settings" }).waitFor();
        await page.keyboard.type("sk-right");
        await page.keyboard.press("Enter");
        await connected(tab);
        await page.locator("#question").fill("hi");
        await page.keyboard.press("Enter");
        await page.locator(".figures").waitFor();
      }, options);
    });

    await t.step("a model that loads is waited for", async () => {
      const service = new FakeService();
      Object.assign(service.current, { state: "loading", progress: 0.42 });
      await playground(browser, service, async (tab) => {
        await tab.page.getByText("The model is loading, 42 %.").waitFor();
        service.current.state = "ready";
        await connected(tab);
      });
    });

    await t.step("HTML in an answer is text, and scripts of others do not run", async () => {
      const said = '<img src=x onerror="document.title=1"> <script>document.title=2</script> ' +
        "[a](javascript:document.title=3)";
      await playground(browser, new FakeService(() => sampledAnswer(said)), async (tab, url) => {
        await connected(tab);
        const { page } = tab;
        await page.keyboard.type("Break out");
        await page.keyboard.press("Enter");
        await page.locator(".figures").waitFor();
        assertEquals(await page.locator(".text img, .text script, .text a").count(), 0);
        assertEquals(await page.title(), "Sounder");
        const policy = (await (await fetch(url, { headers: { accept: "text/html" } })).headers)
          .get("content-security-policy")!;
        assertMatch(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
      });
    });

    await t.step("fits a phone, and has a dark and a light face", async () => {
      const backgrounds: unknown[] = [];
      for (const dark of [false, true]) {
        const options = { tab: { width: 360, height: 640, dark } };
        await playground(browser, new FakeService(() => sampledAnswer("Yes.")), async (tab) => {
          await connected(tab);
          const { page } = tab;
          await page.locator("#question").fill(`${"long".repeat(60)} question`);
          await page.keyboard.press("Enter");
          await page.locator(".figures").waitFor();
          assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 360);
          backgrounds.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
        }, options);
      }
      assertNotEquals(backgrounds[0], backgrounds[1]);
    });
  },
});
