// SPDX-License-Identifier: Apache-2.0
// Other processes want the cores too: engines whose threads wait for each other by spinning were seen to
// fall from 156 to 0.55 tokens a second.
import { assertGreater } from "@std/assert";
import { NativeEngine } from "../../ffi/engine.ts";
import { measure } from "../../bench/measure.ts";
import { openModel } from "../../src/model/source.ts";

const MODEL = new URL("../../models/recall", import.meta.url).pathname;
const DEPTHS = [1024];

async function decodeSpeed(engine: NativeEngine): Promise<number> {
  return (await measure(engine, DEPTHS, 3)).decode[0]!.median;
}

Deno.test("with a spinning process on each core at equal priority, decode keeps a quarter of its speed", async () => {
  const engine = await NativeEngine.open(await openModel(MODEL), { context: 2048 });
  const alone = await decodeSpeed(engine);
  const spinners = Array.from(
    { length: navigator.hardwareConcurrency },
    () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"] }).spawn(),
  );
  try {
    const beside = await decodeSpeed(engine);
    console.log(`alone ${alone.toFixed(0)} tok/s, beside spinners ${beside.toFixed(0)} tok/s`);
    assertGreater(beside, alone / 4);
  } finally {
    for (const spinner of spinners) spinner.kill("SIGKILL");
    await Promise.all(spinners.map((spinner) => spinner.status));
    await engine.close();
  }
});
