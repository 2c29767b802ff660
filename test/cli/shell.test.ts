/** `mimosa shell`, fed through a pipe, against a server in this process. */
import { afterAll, beforeAll, expect, it } from "vitest"
import type { TriggerPort } from "../../src/server/commands/TriggerPort.ts"
import type { RegisteredTrigger, TriggerInput } from "../../src/triggers/Trigger.ts"
import { startServer, type TestServer } from "../server/TestServer.ts"
import { describeBuilt, mimosa, start } from "./Mimosa.ts"

describeBuilt("mimosa shell", () => {
  let server: TestServer
  const registered: TriggerInput[] = []
  beforeAll(async () => {
    const triggers: Partial<TriggerPort> = {
      set: async (input) => {
        registered.push(input)
        return input as RegisteredTrigger
      }
    }
    server = await startServer({ triggers: triggers as TriggerPort })
  })
  afterAll(() => server.stop())

  const shell = (lines: readonly string[], ...args: readonly string[]) =>
    mimosa(["shell", "--port", String(server.port), ...args], { stdin: lines.map((line) => `${line}\n`).join("") })

  it("runs the lines of a pipe and shows the answers with their types", async () => {
    const lines = [
      "# what is said here is a comment",
      "",
      'SET greeting "hello\\n\\xff" EX 100',
      "get greeting",
      "SET word 'é'",
      "GET word",
      "GET nothing",
      "INCR counter",
      "MGET word nothing",
      "CONFIG GET maxmemory-policy"
    ]
    const { code, stdout, stderr } = await shell(lines)
    expect([code, stderr]).toEqual([0, ""])
    expect(stdout.split("\n").slice(0, 8)).toEqual([
      "OK",
      '"hello\\n\\xff"',
      "OK",
      '"é"',
      "(nil)",
      "(integer) 1",
      '1) "é"',
      "2) (nil)"
    ])
    expect(stdout).toMatch(/\n(1# "maxmemory-policy" => ".*"|\(empty hash\))\n$/)
  })

  it("gives a text of several lines to the command above it, and goes on behind it", async () => {
    const lines = [
      "TRIGGER SET multi 'a b:*' ON_WRITE <<LUA",
      "local key = 'é' -- it's quoted as it stands",
      "",
      "return key",
      "LUA",
      "PING"
    ]
    expect(await shell(lines)).toEqual({ code: 0, stdout: "OK\nPONG\n", stderr: "" })
    expect(registered.at(-1)).toMatchObject({
      name: "multi",
      pattern: "a b:*",
      source: "local key = 'é' -- it's quoted as it stands\n\nreturn key\n"
    })
  })

  it("runs a transaction", async () => {
    const { stdout } = await shell(["MULTI", "SET tx 1", "INCR tx", "EXEC"])
    expect(stdout).toBe("OK\nQUEUED\nQUEUED\n1) OK\n2) (integer) 2\n")
  })

  it("goes on after an error, and ends with 1", async () => {
    expect(await shell(["NOSUCH a", "SET a 'open", "INCRBY a x", "PING"])).toEqual({
      code: 1,
      stdout: [
        "(error) ERR unknown command 'NOSUCH', with args beginning with: 'a' ",
        "(error) a quote (') is not closed",
        "(error) ERR value is not an integer or out of range",
        "PONG",
        ""
      ].join("\n"),
      stderr: "mimosa: 3 of 4 commands failed\n"
    })
  })

  it("leaves with exit, and says what is missing of a text", async () => {
    expect(await shell(["exit", "PING"])).toEqual({ code: 0, stdout: "", stderr: "" })
    expect(await shell(["TRIGGER SET a a ON_WRITE <<LUA", "return 1"])).toEqual({
      code: 1,
      stdout: "",
      stderr: "mimosa: the text is not ended: LUA is missing\n"
    })
  })

  it("prints replies raw for programs", async () => {
    expect(await shell(["SET raw 'a b'", "GET raw", "MGET raw nothing"], "--raw")).toMatchObject({
      stdout: "OK\na b\na b\n\n"
    })
  })

  it("goes on listening to what it has subscribed to", async () => {
    const listening = start(["shell", "--port", String(server.port)], {})
    listening.stdin.end("SUBSCRIBE news\nPING\n")
    let said = ""
    listening.stdout.on("data", (chunk) => {
      said += chunk
    })
    await expect.poll(() => said, { timeout: 20_000 }).toContain("PONG")
    expect(server.bus.publish("news", "hello")).toBe(1)
    await expect.poll(() => said, { timeout: 20_000 }).toContain("hello")
    expect(said).toBe(
      ['1) "subscribe"', '2) "news"', "3) (integer) 1", "PONG", '1) "message"', '2) "news"', '3) "hello"', ""].join(
        "\n"
      )
    )
    for (const client of server.server.state.clients.values()) client.wire.cut()
    expect(await listening.ended).toBe(0)
  })

  it("says the password, and is refused with another", async () => {
    const guarded = await startServer({ password: "sesame" })
    const args = ["shell", "--port", String(guarded.port)]
    const env = { MIMOSA_PASSWORD: "sesame" }
    expect(await mimosa(args, { stdin: "PING\n", env })).toMatchObject({ code: 0, stdout: "PONG\n" })
    expect(await mimosa(args, { stdin: "PING\n", env: { MIMOSA_PASSWORD: "other" } })).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^mimosa: WRONGPASS /)
    })
    expect(await mimosa(args, { stdin: "PING\nAUTH sesame\nPING\n" })).toMatchObject({
      code: 1,
      stdout: "(error) NOAUTH Authentication required.\nOK\nPONG\n"
    })
    await guarded.stop()
  })

  it("says how to start a server where there is none", async () => {
    const { code, stderr } = await mimosa(["shell", "--port", "1"], { stdin: "PING\n" })
    expect([code, stderr.startsWith("mimosa: no server is on 127.0.0.1:1; start one with: ")]).toEqual([1, true])
  })
})
