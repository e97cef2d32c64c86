// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { readPage } from "../../routes/page.ts";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed } from "./client.ts";

async function withPage(use: (app: ReturnType<typeof appOver>) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["index.html", "app.js", "style.css", "icon.svg"]) {
      await Deno.writeTextFile(`${folder}/${name}`, `the ${name}`);
    }
    await Deno.writeTextFile(`${folder}/secret.txt`, "not ours");
    await use(appOver(new FakeService(), { apiKeys: ["k"], page: await readPage(folder) }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const BROWSER = { headers: { accept: "text/html,application/xhtml+xml,*/*;q=0.8" } };

Deno.test("browsers get the page at /, others a line of text, neither needs a key", async () => {
  await withPage(async (app) => {
    const page = await app.request("/", BROWSER);
    assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
    assertEquals(await page.text(), "the index.html");
    const line = await app.request("/", { headers: { accept: "*/*" } });
    assertStringIncludes(await line.text(), "In a browser this is the playground.");
    for (const response of [page, line]) assertEquals(response.headers.get("vary"), "accept");
  });
});

Deno.test("the page's files carry their type and a policy without inline code or other hosts", async () => {
  await withPage(async (app) => {
    const types = { "app.js": /javascript/, "style.css": /css/, "icon.svg": /svg/ };
    for (const [name, type] of Object.entries(types)) {
      const response = await app.request(`/playground/${name}`);
      assertEquals(await response.text(), `the ${name}`);
      assertMatch(response.headers.get("content-type")!, type);
      const policy = response.headers.get("content-security-policy")!;
      assertMatch(policy, /^default-src 'none'; /);
      assertEquals(/unsafe|\*|https?:/.test(policy), false, policy);
      assertStringIncludes(policy, "frame-ancestors 'none'");
    }
  });
});

Deno.test("a file that a browser has is a 304, another one is not", async () => {
  await withPage(async (app) => {
    const etag = (await app.request("/playground/app.js")).headers.get("etag")!;
    const again = (given: string) =>
      app.request("/playground/app.js", { headers: { "if-none-match": given } });
    assertEquals((await again(etag)).status, 304);
    assertEquals((await again('"other"')).status, 200);
  });
});

Deno.test("only the page's own files are served, whatever the path says", async () => {
  await withPage(async (app) => {
    for (const name of ["secret.txt", "..%2Findex.html", "%2e%2e%2fmain.ts", "constructor"]) {
      await failed(await app.request(`/playground/${name}`), 404);
    }
  });
});

Deno.test({
  name: "a page that may not be read is left out",
  permissions: { read: false },
  async fn() {
    assertEquals(await readPage("/anywhere"), null);
  },
});

Deno.test("a page that isn't built is left out", async () => {
  const page = await readPage("/nowhere/at/all");
  assertEquals(page, null);
  const app = appOver(new FakeService(), { page });
  assertMatch(
    await (await app.request("/", BROWSER)).text(),
    /^Sounder 1\.2\.3: .*\/version\. \n$/,
  );
  await failed(await app.request("/playground/app.js"), 404);
});
