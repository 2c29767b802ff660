/** The examples, run as their readers would: against the built package, each in a process of its own. */
import { execFile } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What each prints, where it does not depend on the machine. */
const printed: Readonly<Record<string, readonly (string | RegExp)[]>> = {
  "01-session-expiry": [
    "a session with 50 ms to live is stored; from here on nobody touches it",
    /^the webhook: {2}\{ session: 'session:42', user: 'ada', seconds_late: [\d.]+ \}$/,
    "its id:       stable, for dropping repeats",
    "the session:  gone"
  ],
  "02-eviction-monitor": [
    "evicted:  report:tuesday, which took 80 ms",
    "evicted:  report:wednesday, which took 300 ms",
    "lost:     380 ms of computing",
    "monday's: the report of monday"
  ],
  "03-library": [
    "emitted:    [ 'price:apple 3 -> 4' ]",
    "it wrote:   3",
    "a dry run:  [ { channel: 'price:changed', payload: 'price:pear 1 -> 2' } ] and nothing changed: true",
    "statistics: { runs: 2, writes: 1, emits: 1 }"
  ],
  "04-counter": [
    "clicks:  3",
    "  refused:  not so fast",
    "  crashed:  crash: RangeError: NaN cannot be added",
    "  after it: 0",
    "visits:  3",
    "  refused:  not so fast",
    "  crashed:  crash: RangeError: NaN cannot be added",
    "  after it: 3",
    "restarts: { clicks: 1, visits: 1 }"
  ],
  "05-chat-room": [
    "ada | host: welcome ada",
    "ada | host: welcome joe",
    "joe | host: welcome joe",
    "ada | host: welcome mike",
    "joe | host: welcome mike",
    "mike| host: welcome mike",
    "in the room: [ 'ada', 'joe', 'mike' ]",
    "joe | ada: hello all",
    "mike| ada: hello all",
    "in the room: [ 'ada', 'mike' ]",
    "ada | host: joe is gone (normal)",
    "mike| host: joe is gone (normal)",
    "ada | host: mike is gone (crash: Error: nothing to say)",
    "in the room: [ 'ada' ]",
    "subscribers: 1"
  ],
  "06-worker-pool": [
    "3 workers, restarts 0,0,0; pool 1",
    "3 squared is 9",
    "2000: too big",
    "13: ProcessExited (crash: Error: 13 is unlucky)",
    "4 squared is 16",
    "3 workers, restarts 0,0,1; pool 1",
    "13: ProcessExited (crash: Error: 13 is unlucky)",
    "13: ProcessExited (crash: Error: 13 is unlucky)",
    "13: ProcessExited (crash: Error: 13 is unlucky)",
    "3 workers, restarts 0,0,0; pool 2",
    "5 squared is 25"
  ],
  "07-change-with-care": [
    "reorder:  stock:tea",
    "reorder:  stock:tea",
    "reorder:  stock:rice",
    "refused:  'stock:rice' was rejected: a stock is not below zero",
    "history:  1 of 4 runs failed: line 1: attempt to compare number with nil",
    "history:  0 failed, 2 messages instead of 3",
    "reorder:  stock:tea",
    "reorder:  stock:tea",
    "shadow:   1 message on 3 writes",
    "promoted: 5 are left, and nobody is told again",
    "rollback: version 1 of 2"
  ],
  "08-tenant-scripts": [
    "compiled: main, report",
    "acme:    Hello ada, visit 1, ticket 1",
    "acme:    a regular, visits:ada",
    "acme:    Hello ada, visit 2, ticket 2",
    "globex:  ¡Hola! ada, visit 1, ticket 3",
    "globex:  ¡Hola! joe, visit 1, ticket 4",
    "visits:ada of acme, globex and nobody: [ 2, 1, undefined ]",
    "visits:joe of acme, globex and nobody: [ undefined, 1, undefined ]",
    "stopped:  line 10, computing for 20 ms",
    "logged:   visits.lua:10: stopped after 20 ms of computing, its limit (computeMs)",
    "acme:    Hello ada, visit 3, ticket 5"
  ],
  "09-profile": [
    "the web service reads  { name: 'Ada', city: 'London' }",
    "it holds a copy:       true",
    "after a change it does: false",
    "and its next read is   { name: 'Ada', city: 'Paris' }",
    "what is local stays:   null"
  ],
  "10-inventory": [
    "shown:   page of the lamp: 5 left",
    "again:   page of the lamp: 5 left - made so far: 1",
    "sold:    page of the lamp: 4 left - made so far: 2",
    "late:    page of the lamp: 3 left",
    "next:    page of the lamp: 2 left"
  ],
  "11-permission-revoked": [
    "eve reads the plans: true",
    "revoked:             false",
    "eve reads the menu:  true",
    "logged out:          false",
    "its trigger heard:   session:eve, invalidate by this instance"
  ],
  "12-configuration-flag": [
    "the worker starts with:  false",
    "without asking it knows: true",
    "it has read the flag:    2 times"
  ],
  "13-prices": [
    "100 prices set here, each read there at once; stale: 0",
    "50 prices set by both at once; the same for both:   50"
  ]
}

const isBuilt = existsSync(`${root}/dist/index.js`)
const describeBuilt = isBuilt || process.env.CI ? describe : describe.skip

describeBuilt("the examples", () => {
  const names = readdirSync(`${root}/examples`).filter((name) => /^\d\d-.*\.ts$/.test(name))

  it("are all known here", () => {
    expect(names).toEqual(Object.keys(printed).map((name) => `${name}.ts`))
  })

  it.each(Object.entries(printed))("%s ends by itself and prints what it proves", async (name, lines) => {
    const args = ["--import", "tsx", `examples/${name}.ts`]
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 60_000 })
    expect(stderr).toBe("")
    const said = stdout.trimEnd().split("\n")
    expect(said).toHaveLength(lines.length)
    for (const [at, line] of lines.entries())
      expect(said[at]).toEqual(typeof line === "string" ? line : expect.stringMatching(line))
  })
})
