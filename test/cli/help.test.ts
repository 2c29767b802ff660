/** What a person meets before any server runs: help, and mistakes on the command line. */
import { afterEach, describe, expect, it, vi } from "vitest"
import { keyspaceLimitsDefault } from "../../src/cache/index.ts"
import { CliError } from "../../src/cli/CliError.ts"
import { Mistake, parse, run } from "../../src/cli/Command.ts"
import { commands } from "../../src/cli/commands.ts"
import { helpOf } from "../../src/cli/help.ts"
import { version } from "../../src/version.ts"
import { describeBuilt, mimosa } from "./Mimosa.ts"

const rowOf = (name: string) => {
  const row = commands.find(({ path }) => path.join(" ") === name)
  if (row === undefined) throw new Error(`no command ${name}`)
  return row
}

describe("help", () => {
  it("shows every command with its summary", () => {
    const page = helpOf([])
    for (const { path } of commands) expect(page).toContain(`mimosa ${path.join(" ")} `)
    for (const { summary } of commands) expect(page).toContain(summary)
  })

  it("shows a group without the others", () => {
    const page = helpOf(["trigger"])
    expect(page).toContain("Usage: mimosa trigger <command> [options]")
    expect(page).not.toContain("mimosa serve")
  })

  it.each(commands.map(({ path }) => path.join(" ")))("of %s shows every argument and option", (name) => {
    const row = rowOf(name)
    const page = helpOf(row.path)
    for (const argument of row.arguments) expect(page).toContain(`  ${argument.name} `)
    for (const option of Object.values(row.options)) expect(page).toContain(`  --${option.name} `)
  })

  it("says what an option defaults to and which variable stands in for it", () => {
    expect(helpOf(["ping"])).toMatch(/--port <port> +Its port for Redis clients\. \(default 6380; MIMOSA_PORT\)/)
  })

  it("shows a usage a way of using it", () => {
    const ways = helpOf(["trigger", "test"]).split("\n").slice(2, 5)
    expect(ways).toEqual([
      "Usage: mimosa trigger test <folder>",
      "       mimosa trigger test [name] <EVENT> <key> <value> [options]",
      "       mimosa trigger test [name] --history <n> [options]"
    ])
  })

  it("fits into a terminal of 120 columns", () => {
    const lines = commands.flatMap(({ path }) => helpOf(path).split("\n"))
    expect(lines.filter((line) => line.length > 120)).toEqual([])
  })
})

describe("a command line", () => {
  it.each([
    ["serve", ["--prot", "1"], "mimosa serve has no option --prot; mimosa serve --help shows what there is"],
    ["serve", ["--port"], "--port takes a value: --port <port>"],
    ["serve", ["--port", "1", "--port=2"], "--port was given twice"],
    ["serve", ["now"], "mimosa serve takes no arguments, and got 1; quote what has spaces in it"],
    ["ping", ["--json=yes"], "--json takes no value"],
    ["trigger set", ["a", "b"], "mimosa trigger set takes <name> <pattern> <EVENT,...>; <EVENT,...> is missing"],
    ["trigger list", ["a", "b"], "mimosa trigger list takes [glob], and got 2; quote what has spaces in it"],
    ["trigger apply", [], "mimosa trigger apply takes <folder>; <folder> is missing"]
  ])("of %s with the mistake %j is refused", (name, words, message) => {
    expect(parse(rowOf(name), words)).toEqual(new Mistake(message))
  })

  it.each([
    ["trigger set", ["a", "--priority=-5", "b", "c"], { priority: ["-5"] }, ["a", "b", "c"]],
    ["trigger set", ["a", "b", "c", "--source", "--x=1"], { source: ["--x=1"] }, ["a", "b", "c"]],
    ["trigger test", ["--old", "", "-1", "k", "--", "--json"], { old: [""] }, ["-1", "k", "--json"]],
    ["trigger list", ["--json"], { json: [""] }, []],
    ["serve", ["--egress-allow", "a", "--egress-allow=b=c"], { "egress-allow": ["a", "b=c"] }, []]
  ])("of %s is taken as it is meant: %j", (name, words, options, args) => {
    expect(parse(rowOf(name), words)).toEqual({ options: new Map(Object.entries(options)), args })
  })

  it("says what an option needs in terms of other options of the command", () => {
    for (const { options } of commands) {
      for (const { needs } of Object.values(options)) {
        for (const field of Object.keys(needs)) expect(Object.keys(options)).toContain(field)
      }
    }
  })

  describe("of serve with an option that would be ignored", () => {
    /** What serve is run with, or why it is not. */
    const served = async (words: readonly string[], env: Readonly<Record<string, string>> = {}) => {
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
      const row = { ...rowOf("serve"), run: async () => {} }
      const parsed = parse(row, words)
      if (parsed instanceof Mistake) throw parsed
      return run(row, parsed).then(
        () => "runs",
        (error: unknown) => (error instanceof CliError ? error.message : error)
      )
    }
    afterEach(() => void vi.unstubAllEnvs())

    it.each([
      ["--coherence", "mesh"],
      ["--peers", "10.0.0.1:7700"],
      ["--mesh-host", "127.0.0.1"],
      ["--mesh-port", "7700"],
      ["--mesh-dns", "shop:7700"],
      ["--mesh-secret", "what all of them know"],
      ["--region", "eu-west"],
      ["--partition-ttl", "1000"]
    ])("is refused: %s without a namespace", async (option, value) => {
      expect(await served([option, value])).toBe(`${option} does nothing without --namespace <name>, which is missing`)
      expect(await served([option, value, "--namespace", "shop"])).toBe("runs")
      expect(await served([option, value], { MIMOSA_NAMESPACE: "shop" })).toBe("runs")
    })

    it.each(["--peers", "--mesh-host", "--mesh-port", "--mesh-dns"])(
      "is refused: %s beside a broker",
      async (option) => {
        const words = ["--namespace", "shop", option, "1"]
        const url = "redis://user:secret@10.0.0.1"
        const refused = `${option} is for --coherence mesh alone, and`
        expect(await served([...words, "--coherence", url])).toBe(`${refused} --coherence says something else`)
        expect(await served(words, { MIMOSA_COHERENCE: url })).toBe(`${refused} MIMOSA_COHERENCE says something else`)
        expect(await served([...words, "--coherence", "mesh"])).toBe("runs")
      }
    )

    it("is none where a variable says it, which may be there for others, nor a secret beside a broker", async () => {
      const env = {
        MIMOSA_MESH_SECRET: "what all of them know",
        MIMOSA_PEERS: "10.0.0.1:7700",
        MIMOSA_REGION: "eu-west"
      }
      expect(await served([], env)).toBe("runs")
      const broker = ["--namespace", "shop", "--coherence", "nats://10.0.0.1"]
      expect(await served([...broker, "--mesh-secret", "what all of them know", "--region", "eu"], env)).toBe("runs")
    })
  })

  it("has every value within what its option allows", () => {
    const { port, logFormat } = rowOf("serve").options
    expect(port?.read(["6380"], "--port")).toBe(6380)
    expect(port?.read([], "--port")).toBe(6380)
    for (const text of ["x", "", "1.5", "70000", "-1", "1e3"]) {
      expect(port?.read([text], "MIMOSA_PORT")).toMatchObject({
        message: `MIMOSA_PORT is a whole number from 0 to 65535, not '${text}'`
      })
    }
    expect(logFormat?.read(["xml"], "--log-format")).toMatchObject({
      message: "--log-format is one of json, pretty, not 'xml'"
    })
  })
})

describe("mimosa serve", () => {
  it.each([
    ["64mb", 64 * 1024 * 1024],
    ["1GB", 1024 ** 3],
    ["100k", 100_000],
    ["65536", 65_536],
    ["1000000b", 1_000_000],
    ["2m", 2_000_000]
  ])("counts %s as Redis does", (text, bytes) => {
    expect(rowOf("serve").options.maxBytes?.read([text], "--max-bytes")).toBe(bytes)
  })

  it.each(["", "mb", "1.5gb", "-1mb", "64 mb", "64mib", "1kb", "9999999999gb"])("refuses %j for bytes", (text) => {
    expect(rowOf("serve").options.maxBytes?.read([text], "--max-bytes")).toMatchObject({
      message: `--max-bytes is a number of bytes such as 67108864, 64mb or 1gb, from 64kb to 9007199254740991, not '${text}'`
    })
  })

  it("has the defaults of the library, written down so that help need not load it", () => {
    const { maxEntries, maxBytes } = rowOf("serve").options
    expect({ maxEntries: maxEntries?.read([], ""), maxBytes: maxBytes?.read([], "") }).toEqual(keyspaceLimitsDefault)
  })
})

describeBuilt("mimosa", () => {
  it.each([[[]], [["--help"]], [["serve", "-h"]]])("helps with %j", async (args) => {
    const page = helpOf(args.filter((word) => word === "serve"))
    expect(await mimosa(args)).toEqual({ code: 0, stdout: `${page}\n`, stderr: "" })
  })

  it("says its version", async () => {
    expect(await mimosa(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" })
  })

  it.each([
    [["sevre"], "mimosa has no command 'sevre'; there are serve, ping, top, trigger, logs, coherence, run, shell"],
    [
      ["trigger", "foo"],
      "mimosa trigger has no command 'foo'; there are set, register, list, info, test, versions, rollback, shadow, graph, apply, diff, enable, disable, remove, log"
    ],
    [["ping", "--port=x"], "--port is a whole number from 1 to 65535, not 'x'"],
    [["ping"], "MIMOSA_PORT is a whole number from 1 to 65535, not 'many'"],
    [
      ["ping", "--port", "1"],
      "no server is on 127.0.0.1:1; start one with: mimosa serve --port 1, or say where it is: --port or MIMOSA_PORT"
    ],
    [
      ["top", "--http-port", "1"],
      "no server is on 127.0.0.1:1; start one with: mimosa serve --http-port 1, or say where it is: --http-port or MIMOSA_HTTP_PORT"
    ]
  ])("%j ends with one line that says what would be right", async (args, line) => {
    const outcome = await mimosa(args, { env: { MIMOSA_PORT: "many" } })
    expect(outcome).toEqual({ code: 1, stdout: "", stderr: `mimosa: ${line}\n` })
  })
})
