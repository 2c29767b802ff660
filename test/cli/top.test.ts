/** `mimosa top`: the picture as text, the live view on a screen that the test holds, and the command against a server. */
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Supervisor } from "../../src/actor/index.ts"
import { CliError } from "../../src/cli/CliError.ts"
import { picture, type Sample, sampleOf } from "../../src/cli/TopPicture.ts"
import { type Terminal, watch } from "../../src/cli/top.ts"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "./Mimosa.ts"

type Node = Supervisor.TreeNode

const node = (name: string, id: number, more: Partial<Node> = {}): Node => ({
  name,
  pid: `<0.${id} ${name}>`,
  type: "worker",
  status: "running",
  restarts: 0,
  mailboxDepth: 0,
  messagesHandled: 0,
  lastExit: null,
  children: [],
  ...more
})

const aTree = (handled: number): Node =>
  node("mimosa", 1, {
    children: [
      node("scheduler", 2, { messagesHandled: handled, mailboxDepth: 3 }),
      node("sandbox", 3, {
        children: [node("triggers 1", 5, { memoryBytes: 150 * 1024, restarts: 2, lastExit: "killed" })]
      }),
      node("listeners", 4, { status: "restarting", pid: null })
    ]
  })

const metrics = (commands: number): string => `# HELP mimosa_commands_total Commands answered.
# TYPE mimosa_commands_total counter
mimosa_commands_total ${commands}
mimosa_build_info{version="1.2.3"} 1
mimosa_start_time_seconds 1000
mimosa_clients 2
mimosa_keyspace_hits_total 3
mimosa_keyspace_misses_total 1
mimosa_keyspace_entries 1234
mimosa_keyspace_bytes 2097152
process_resident_memory_bytes 104857600
mimosa_trigger_runs_total{outcome="ok"} 10
mimosa_trigger_runs_total{outcome="error"} 2
mimosa_processes 5
mimosa_process_restarts_total 2
`

const sample = (atMs: number, handled: number, commands: number): Sample =>
  sampleOf(JSON.stringify(aTree(handled)), metrics(commands), atMs)

describe("the picture", () => {
  it("shows the server, and each process with what is known of it", () => {
    expect(picture(sample(1_000_000 + 90_061_000, 40, 100))).toEqual([
      "mimosa 1.2.3   up 1d 01:01:01   2 clients   1,234 keys   2.0 MiB   100.0 MiB resident",
      "- ops/s   75 % hits   - trigger runs/s   0 webhooks pending   5 processes   2 restarts",
      "",
      "NAME              PID  STATUS      RESTARTS  WAITING  HANDLED  /S     MEMORY  LAST EXIT",
      "mimosa            0.1  running            0        0        0   -          -",
      "├─ scheduler      0.2  running            0        3       40   -          -",
      "├─ sandbox        0.3  running            0        0        0   -          -",
      "│  └─ triggers 1  0.5  running            2        0        0   -  150.0 KiB  killed",
      "└─ listeners      -    restarting         0        0        0   -          -"
    ])
  })

  it("shows what happened since the one before, a second", () => {
    const lines = picture(sample(1_002_000, 40, 1_300), sample(1_000_000, 10, 100))
    expect(lines[1]).toMatch(/^600 ops\/s .* 0 trigger runs\/s/)
    expect(lines.find((line) => line.includes("scheduler"))).toMatch(/ 40 +15 +-$/)
  })

  it("knows no rate of a process that was not there before", () => {
    const other = { ...aTree(5), children: [node("scheduler", 99, { messagesHandled: 5 })] }
    const lines = picture(sampleOf(JSON.stringify(other), metrics(0), 2_000), sample(1_000, 3, 0))
    expect(lines.find((line) => line.includes("scheduler"))).toMatch(/ 5 +- +-$/)
  })

  it("folds the many children of one process", () => {
    const children = Array.from({ length: 2_000 }, (_, at) => node(`connection ${at}`, at + 10))
    const tree = node("mimosa", 1, { children: [node("connections", 2, { children })] })
    const lines = picture(sampleOf(JSON.stringify(tree), metrics(0), 0))
    expect(lines).toHaveLength(4 + 2 + 20 + 1)
    expect(lines.at(-1)).toBe("   └─ … 1,980 more")
  })
})

describe("the live view", () => {
  const readable = (frame: string): string => frame.replaceAll("\x1b", "ESC")

  /** A screen of that size; `type` presses keys. */
  const screen = (columns = 200, rows = 50) => {
    const frames: string[] = []
    let type = (_keys: string) => {}
    const terminal: Terminal = {
      columns: () => columns,
      rows: () => rows,
      write: (text) => void frames.push(text),
      onInput: (listener) => {
        type = listener
        return () => {
          type = () => frames.push("typed after the end")
        }
      }
    }
    return { terminal, frames, type: (keys: string) => type(keys) }
  }

  it.each(["q", "Q", "\x03"])(
    "draws a picture a turn, each in the place of the one before, until %j is typed",
    async (key) => {
      const { terminal, frames, type } = screen()
      let turns = 0
      await watch(
        async () => sample(1_000_000 + 1_000 * turns, turns, turns),
        terminal,
        async () => {
          if (++turns === 3) type(key)
        }
      )
      expect(frames[0]).toBe("\x1b[?1049h\x1b[?25l")
      expect(frames.at(-1)).toBe("\x1b[?25h\x1b[?1049l")
      const pictures = frames.slice(1, -1)
      expect(pictures).toHaveLength(3)
      for (const each of pictures) expect(readable(each)).toMatch(/^ESC\[Hmimosa 1\.2\.3 .*ESC\[K\r\n[\s\S]*ESC\[J$/)
      expect(pictures[1]).toContain("1 ops/s")
    }
  )

  it("cuts the picture to the screen", async () => {
    const { terminal, frames, type } = screen(20, 4)
    await watch(
      async () => sample(0, 0, 0),
      terminal,
      async () => type("q")
    )
    const lines = readable(frames[1] as string)
      .replaceAll(/ESC\[[HKJ]/g, "")
      .split("\r\n")
    expect(lines).toEqual(["mimosa 1.2.3   up 00", "- ops/s   75 % hits ", "", "… 6 more lines"])
  })

  it("goes on asking while the server is away, and says so", async () => {
    const { terminal, frames, type } = screen()
    let turns = 0
    await watch(
      async () => {
        if (turns === 1) throw new CliError("no server is there")
        return sample(1_000 * turns, 0, 0)
      },
      terminal,
      async () => {
        if (++turns === 3) type("q")
      }
    )
    expect(frames[2]).toContain("no server is there")
    expect(frames[2]).toContain("scheduler")
    expect(frames[3]).toContain("mimosa 1.2.3")
  })

  it("does not wait for an answer when it is left", async () => {
    const { terminal, frames, type } = screen()
    let asked = 0
    const never = new Promise<Sample>(() => {})
    await watch(
      () => {
        if (++asked === 1) return Promise.resolve(sample(0, 0, 0))
        queueMicrotask(() => type("q"))
        return never
      },
      terminal,
      async () => {}
    )
    expect(frames.at(-1)).toBe("\x1b[?25h\x1b[?1049l")
  })

  it("is an error where there never was a server, and the screen stays as it is", async () => {
    const { terminal, frames } = screen()
    const noServer = new CliError("no server is there")
    await expect(
      watch(
        () => Promise.reject(noServer),
        terminal,
        async () => {}
      )
    ).rejects.toBe(noServer)
    expect(frames).toEqual([])
  })
})

describeBuilt("mimosa top", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let served: Served
  beforeAll(async () => {
    folder = await temporaryFolder()
    served = await serve(folder.path, [], { MIMOSA_PASSWORD: "secret" })
  })
  afterAll(async () => {
    await served.stop()
    await folder.remove()
  })

  const top = (...args: readonly string[]) =>
    mimosa(["top", "--http-port", String(served.httpPort), ...args], { env: { MIMOSA_PASSWORD: "secret" } })

  it.each([[["--once"]], [[]]])("prints one picture where stdout is no terminal: %j", async (args) => {
    const { code, stdout, stderr } = await top(...args)
    expect([code, stderr]).toEqual([0, ""])
    expect(stdout).toMatch(/^mimosa \d+\.\d+\.\d+ {3}up \d\d:\d\d:\d\d /)
    for (const name of ["scheduler", "dispatcher", "journal", "storage", "listener"])
      expect(stdout).toContain(` ${name} `)
  })

  it("prints the tree as JSON", async () => {
    expect(JSON.parse((await top("--json")).stdout)).toMatchObject({ name: "mimosa", type: "supervisor" })
  })

  it.each([
    [{}, /asks for a password: --password or MIMOSA_PASSWORD$/],
    [{ MIMOSA_PASSWORD: "guess" }, /has another password$/]
  ])("says what is wrong with the password of %j", async (env, words) => {
    const { code, stderr } = await mimosa(["top", "--http-port", String(served.httpPort)], { env })
    expect([code, stderr.trimEnd()]).toEqual([1, expect.stringMatching(words)])
  })

  it("says that the other port is not the one for it", async () => {
    const { code, stderr } = await mimosa(["top", "--http-port", String(served.port)])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^mimosa: 127\.0\.0\.1:\d+ cannot be reached: /)
    expect(stderr.trimEnd().split("\n")).toHaveLength(1)
  })
})
