// SPDX-License-Identifier: Apache-2.0
// The playground of the server as a user starts it: Chromium, and the embedded model.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { chromiumPath, TestBrowser } from "../fixtures/browser.ts";
import { TestServer } from "../fixtures/server.ts";

const path = await chromiumPath();

/** A figure of an answer, by the start of its label. */
function figure(text: string, label: string): string {
  return new RegExp(`^${label}.*\\n+(.+)$`, "m").exec(text)![1]!;
}

Deno.test({
  name:
    "the sample document is answered by full and by sketch side by side, the second from cached KV",
  ignore: path === null,
  // Playwright keeps timers and pipes of its own until the browser has gone.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using server = new TestServer(["--memory", "2GiB", "--quiet"]);
    const url = await server.ready();
    await using browser = await TestBrowser.start(path!);
    const { page, errors, requests } = await browser.open(`${url}/`);
    await page.locator("#model", { hasText: "recall, 32,768 tokens of context" }).waitFor();
    await page.getByRole("button", { name: "Load a sample document" }).click();
    await page.getByText(/10,\d\d\d tokens/).waitFor();
    await page.getByText("Side by side").click();
    await page.locator("#question").press("Enter");
    await page.locator(".verdict").waitFor({ timeout: 120_000 });
    const [full, sketch] = await page.locator(".answer").all();
    for (const answer of [full!, sketch!]) {
      assertMatch(await answer.locator(".text").innerText(), /painted canoe is: 2091768/);
    }
    const [exact, sampled] = [await full!.innerText(), await sketch!.innerText()];
    assertEquals(figure(exact, "rows read"), "100 %");
    assertEquals(figure(exact, "nothing was sampled"), "exact");
    const share = parseFloat(figure(sampled, "rows read"));
    assert(share > 1 && share < 4, sampled);
    assertMatch(figure(sampled, "standard error"), /^± [\d.]+ %$/);
    assert(Number(figure(sampled, "tokens cached").replace(",", "")) > 10_000, sampled);
    assertEquals(errors, []);
    assert(requests.every((request) => request.startsWith(url)), requests.join("\n"));
  },
});
