/** SCRIPT.… over the wire: values as JSON both ways, errors on one line, runs that end with their client. */
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { toFloat, type Value } from "../../../src/kernel/index.ts"
import {
  FunctionNotFound,
  ScriptOutOfMemory,
  ScriptQuotaExceeded,
  ScriptRuntimeError,
  ScriptSyntaxError,
  ScriptsNotSaved,
  ScriptTimeout
} from "../../../src/scripting/index.ts"
import type { RawClient } from "../RawClient.ts"
import { startTenantServer, type TenantServer } from "../TenantServer.ts"

let server: TenantServer
let client: RawClient
beforeEach(async () => {
  server = await startTenantServer()
  client = await server.connect()
  await server.create("one")
  await server.create("two")
  server.plays.set("echo", ({ args }) => ({ value: args.length === 1 ? (args[0] as Value) : (args as never) }))
})
afterEach(() => server.stop())

const ok = "+OK\r\n"
const bulk = (text: string) => {
  const bytes = Buffer.from(text).toString("latin1")
  return `$${bytes.length}\r\n${bytes}\r\n`
}

describe("a script", () => {
  it("is set, listed, shown, run and removed", async () => {
    expect(await client.send("SCRIPT.SET", "one", "main", "echo")).toBe(ok)
    expect(await client.send("SCRIPT.RUN", "one", "main", "main", "1", '"a"')).toBe(bulk('[1,"a"]'))
    expect(await client.send("SCRIPT.LIST", "one")).toMatch(/^\*1\r\n\*12\r\n\$4\r\nname\r\n\$4\r\nmain\r\n/)
    expect(await client.send("SCRIPT.INFO", "one", "main")).toContain("functions\r\n*1\r\n$4\r\nmain\r\n")
    expect(await client.send("SCRIPT.GET", "one", "main")).toBe(bulk("echo"))
    expect(await client.send("SCRIPT.LIST", "two")).toBe("*0\r\n")
    expect(await client.send("SCRIPT.DEL", "one", "main")).toBe(":1\r\n")
    expect(await client.send("SCRIPT.DEL", "one", "main")).toBe(":0\r\n")
    expect(await client.send("SCRIPT.GET", "one", "main")).toBe("-NOSCRIPT there is no script 'main'\r\n")
    expect(await client.send("SCRIPT.RUN", "one", "main", "main")).toBe(
      "-NOSCRIPT tenant 'one' has no script 'main'\r\n"
    )
  })

  it.each([
    ["3", 3],
    ["3.0", toFloat(3)],
    ["-0.0", -0],
    ["9223372036854775807", 9223372036854775807n],
    ["true", true],
    ["null", null],
    ['"é"', "\xc3\xa9"],
    ['{"$bytes":"/wA="}', "\xff\x00"],
    ['{"$float":"nan"}', Number.NaN],
    ['{"a":[1,2.0,{"$map":[[1,"x"]]}]}', undefined]
  ] as const)("takes and gives %s as it is", async (json, stored) => {
    let given: Value | undefined
    server.plays.set("keep", ({ args }) => {
      given = args[0] as Value
      return { value: given }
    })
    expect(await client.send("SCRIPT.EVAL", "one", "keep", "main", Buffer.from(json).toString("latin1"))).toBe(
      bulk(json)
    )
    if (stored !== undefined) expect(given).toEqual(stored)
  })

  it("may end in the command's own turn, and in a later one, without holding up others", async () => {
    let finish = (_: { value: Value }) => {}
    server.plays.set(
      "wait",
      () =>
        new Promise((resolve) => {
          finish = resolve
        })
    )
    const waiting = client.pipeline([["SCRIPT.EVAL", "one", "wait", "main"], ["PING"]])
    const other = await server.connect()
    expect(await other.send("SCRIPT.EVAL", "one", "echo", "main", "1")).toBe(bulk("1"))
    finish({ value: "later" })
    expect(await waiting).toEqual([bulk('"later"'), "+PONG\r\n"])
  })

  it("prints into the log of its tenant", async () => {
    const log = await client.send("SCRIPT.LOG", "one", "AFTER", "2", "COUNT", "5")
    expect(log).toBe(
      `*1\r\n*10\r\n$6\r\nnumber\r\n:3\r\n$5\r\nat_ms\r\n:5\r\n$6\r\nscript\r\n$1\r\ns\r\n$4\r\nkind\r\n$5\r\nprint\r\n$4\r\ntext\r\n${bulk("one é 3")}`
    )
    expect(await client.send("SCRIPT.LOG", "one", "BEFORE", "2")).toBe("-ERR syntax error\r\n")
    expect(await client.send("SCRIPT.LOG", "one", "AFTER", "-1")).toContain("-ERR value is out of range")
  })
})

describe("a run ends", () => {
  const endless = async (start: RawClient) => {
    let begun = () => {}
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve
    })
    server.plays.set("endless", () => {
      begun()
      return new Promise(() => {})
    })
    start.send("SCRIPT.EVAL", "one", "endless", "main").catch(() => {})
    await isBegun
  }
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise(setImmediate)
  }

  it("when its client is cut off", async () => {
    await endless(client)
    expect(server.ended).toEqual([])
    await client.close()
    await until(() => server.ended.length > 0)
    expect(server.ended).toEqual(["one/script"])
    await until(() => server.server.connections().size === 0)
  })

  it("when its client closes its side, which is answered then", async () => {
    const reply = new Promise<string>((resolve) => {
      client.socket.once("data", (bytes) => resolve(String(bytes)))
    })
    await endless(client)
    client.socket.end()
    expect(await reply).toBe("-ERR ended\r\n")
    expect(server.ended).toEqual(["one/script"])
  })

  it("when the server closes, which is answered before the connection is closed", async () => {
    let answer = ""
    client.socket.on("data", (bytes) => {
      answer += bytes
    })
    await endless(client)
    client.write("*1\r\n$4\r\nPING\r\n") // behind a run that was ended, nothing more is begun
    await server.server.close()
    await client.closed
    expect([answer, server.ended]).toEqual(["-ERR ended\r\n", ["one/script"]])
  })

  it("when an operator kills its connection", async () => {
    await endless(client)
    const operator = await server.connect()
    const id = (await operator.send("CLIENT", "LIST")).match(/id=(\d+) /)?.[1] as string
    await operator.send("CLIENT", "KILL", "ID", id)
    await until(() => server.ended.length > 0)
    expect(server.ended).toEqual(["one/script"])
  })
})

describe("what is refused or fails", () => {
  const at = { script: "main", line: 3 }
  it.each([
    [new ScriptRuntimeError({ ...at, reason: "boom\nagain", traceback: "" }), "-SCRIPTERROR main:3: boom again"],
    [
      new ScriptTimeout({ ...at, kind: "waiting", limitMs: 9, reason: "too long", traceback: "" }),
      "-SCRIPTTIMEOUT main:3: too long"
    ],
    [new ScriptSyntaxError({ ...at, column: 2, reason: "é" }), "-SCRIPTSYNTAX main:3:2: \xc3\xa9"],
    [
      new FunctionNotFound({ script: "main", function: "f", functions: [] }),
      "-NOSCRIPT main: there is no function 'f'"
    ],
    [
      new ScriptQuotaExceeded({ script: "main", tenant: "one", what: "runs", limit: 2, retryAfterMs: 5 }),
      "-SCRIPTQUOTA main: tenant 'one' has 2 runs at once"
    ],
    [new ScriptsNotSaved({ cause: "/secret/path" }), "-NOTSAVED "],
    [new Error("a defect"), "-ERR a defect"]
  ])("has one line and a code of its own: %s", async (error, line) => {
    server.plays.set("fail", () => ({ error }))
    const reply = await client.send("SCRIPT.EVAL", "one", "fail", "main")
    expect(reply.startsWith(line)).toBe(true)
    expect(reply.indexOf("\r\n")).toBe(reply.length - 2)
  })

  it("says nothing of the server to a tenant", async () => {
    const own = await server.as("one")
    for (const error of [new ScriptsNotSaved({ cause: "/secret/path" }), new Error("/secret/path")]) {
      server.plays.set("fail", () => ({ error }))
      expect(await own.send("SCRIPT.EVAL", "one", "fail", "main")).toBe(
        "-ERR an internal error; the operator's log has it\r\n"
      )
    }
  })

  const failed = { ...at, traceback: "", reason: "stopped" }
  const quota = { script: "main", tenant: "one", limit: 2, retryAfterMs: 5 }
  it.each([
    [new ScriptTimeout({ ...failed, kind: "computing", limitMs: 50 }), "compute_ms"],
    [new ScriptTimeout({ ...failed, kind: "waiting", limitMs: 50 }), "wait_ms"],
    [new ScriptOutOfMemory({ ...failed, limitBytes: 9 }), "memory_bytes"],
    [new ScriptQuotaExceeded({ ...quota, what: "runs" }), "runs_max"],
    [new ScriptQuotaExceeded({ ...quota, what: "fuel" }), "fuel_per_second"],
    [new ScriptQuotaExceeded({ ...quota, what: "engine" }), undefined],
    [new ScriptRuntimeError(failed), undefined]
  ])("by a limit of its tenant says how that is raised: %s", async (error, limit) => {
    server.plays.set("fail", () => ({ error }))
    const hint = limit === undefined ? "" : `; an operator raises it by TENANT LIMITS one ${limit} <n>`
    for (const who of [client, await server.as("one")]) {
      const reply = await who.send("SCRIPT.EVAL", "one", "fail", "main")
      const inCamelCase = /\([a-z]+[A-Z]\w*\)/g
      const spelt = error.message.replace(inCamelCase, `(${limit})`)
      expect(reply.slice(reply.indexOf(" ") + 1)).toBe(`${spelt}${hint}\r\n`)
    }
  })

  it.each([
    [
      ["SCRIPT", "LOAD", "return 1"],
      "'LOAD' 'return 1' (scripts are tenants' here, and take JSON: SCRIPT.SET <tenant>"
    ],
    [["eval", "return 1", "0"], "(scripts are tenants' here, and take JSON: SCRIPT.EVAL <tenant>"],
    [["EVALSHA", "abc", "0"], "(scripts are tenants' here, and take JSON: SCRIPT.RUN <tenant>"],
    [["FCALL", "f", "0"], "with args beginning with: 'f' '0' \r\n"]
  ])("is an unknown command with a word on what is here in its place: %j", async (args, hint) => {
    const reply = await client.send(...args)
    expect(reply.startsWith(`-ERR unknown command '${args[0]}', with args beginning with: '`)).toBe(true)
    expect(reply).toContain(hint)
  })

  it.each([
    [["SCRIPT.RUN", "nobody", "main", "main"], "-NOTENANT no tenant has the id 'nobody'"],
    [["SCRIPT.EVAL", "one", "echo", "main", "{"], "-ERR argument 1: the JSON is wrong at character 1: "],
    [["SCRIPT.EVAL", "one", "echo", "main", "1", "'a'"], "-ERR argument 2: the JSON is wrong at character 0: "],
    [["SCRIPT.EVAL", "one", "echo", "main", "1", "ada"], `; a text is written '"ada"'\r\n`],
    [["SCRIPT.EVAL", "one", "echo", "main", "a".repeat(41)], `; a text is written '"..."'\r\n`],
    [["SCRIPT.EVAL", "one", "echo", "main", '{"a"'], "the name of a member is followed by ':'\r\n"],
    [["SCRIPT.EVAL", "one", "echo", "main", '"\xff"'], "-ERR argument 1 is not UTF-8"],
    [["SCRIPT.RUN", "one"], "-ERR wrong number of arguments for 'script.run' command"]
  ])("is told: %j", async (args, error) => {
    expect(await client.send(...args)).toContain(error)
  })

  it("is another tenant's script, for who acts as one", async () => {
    const own = await server.as("one")
    const acting = await server.connect()
    await acting.send("TENANT", "USE", "one")
    await client.send("SCRIPT.SET", "two", "main", "echo")
    for (const each of [own, acting]) {
      for (const id of ["two", "nobody"]) {
        expect(await each.send("SCRIPT.RUN", id, "main", "main", "1")).toBe(
          "-NOPERM this connection acts as tenant 'one' and can name no other\r\n"
        )
      }
      expect(await each.send("SCRIPT.SET", "one", "main", "echo")).toBe(ok)
      expect(await each.send("SCRIPT.RUN", "one", "main", "main", "1")).toBe(bulk("1"))
    }
  })

  it("is everything in a transaction that may have to wait", async () => {
    await client.send("MULTI")
    expect(await client.send("SCRIPT.RUN", "one", "main", "main")).toBe(
      "-ERR Command not allowed inside a transaction\r\n"
    )
  })

  it("is everything where the server runs no scripts", async () => {
    await server.stop()
    server = await startTenantServer({ scripts: undefined })
    await server.create("one")
    client = await server.connect()
    expect(await client.send("SCRIPT.LIST", "one")).toBe("-ERR script: this server runs no scripts\r\n")
  })
})
