// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { BlockTable } from "../../../src/scheduler/block_table.ts";

const A = { sharesBlocks: true }, B = { sharesBlocks: true }, ALONE = { sharesBlocks: false };

Deno.test("blocks that several owners hold count once, and those that nobody works with are idle", () => {
  const table = new BlockTable();
  table.add(1, A);
  table.resize(1, 300);
  assertEquals([table.count(1), table.shared, table.idle], [3, 0, 0]);
  table.fork(2, 1, 257, B);
  assertEquals([table.count(2), table.shared, table.sharedBy(1, 3)], [3, 2, 3]);
  table.fork(3, 1, 256, A);
  assertEquals([table.count(3), table.shared], [2, 2]);
  table.own(1, null);
  // The third block is the first context's alone.
  assertEquals([table.shared, table.idle, table.ownTail(1)], [2, 1, 1]);
  table.own(3, null);
  assertEquals([table.shared, table.idle, table.sharedBy(1, 3)], [0, 1, 2]);
  table.remove(2);
  assertEquals([table.shared, table.idle], [0, 3]);
  table.remove(1);
  table.remove(1);
  assertEquals([table.idle, table.ownTail(3)], [2, 2]);
  table.resize(3, 128);
  table.remove(3);
  assertEquals([table.shared, table.idle], [0, 0]);
});

Deno.test("who counts blocks as its own shares none, but they are not idle", () => {
  const table = new BlockTable();
  table.add(1, ALONE);
  table.resize(1, 256);
  assertEquals(table.sharedBy(1, 2), 0);
  table.fork(2, 1, 256, A);
  assertEquals([table.shared, table.idle], [0, 0]);
  table.own(2, null);
  assertEquals(table.idle, 0);
});
