/**
 * The commands of `mimosa`. What a command does is loaded when it runs: `serve` needs no Redis client, a client no
 * server, and help nothing at all.
 */
import { Effect } from "effect"
import type { CliError } from "./CliError.ts"
import { type CommandRow, command } from "./Command.ts"
import { choice, flag, integer, text, texts } from "./Option.ts"

const portMax = 65_535
const clientOptions = {
  host: text("host", "<address>", { meaning: "Where the server is.", variable: "MIMOSA_HOST", byDefault: "127.0.0.1" }),
  port: integer("port", "<port>", {
    meaning: "Its port for Redis clients.",
    variable: "MIMOSA_PORT",
    byDefault: 6380,
    min: 1,
    max: portMax
  }),
  json: flag("json", { meaning: "Print JSON, for programs." })
}

const source = {
  file: text("file", "<script.lua>", { meaning: "Read the Lua source from this file." }),
  source: text("source", "<lua>", { meaning: "The Lua source itself." })
}

const events = "ON_WRITE, ON_READ, ON_DELETE, ON_EXPIRE, ON_EVICT"

export const commands: readonly CommandRow[] = [
  command({
    path: "serve",
    summary: "Start a server, and say how to talk to it.",
    options: {
      host: text("host", "<address>", {
        meaning: "Address to listen on; 0.0.0.0 for all of this machine's.",
        variable: "MIMOSA_HOST",
        byDefault: "127.0.0.1"
      }),
      port: integer("port", "<port>", {
        meaning: "Port for Redis clients; 0 takes a free one.",
        variable: "MIMOSA_PORT",
        byDefault: 6380,
        min: 0,
        max: portMax
      }),
      httpPort: integer("http-port", "<port>", {
        meaning: "Port for health, metrics and processes; 0 takes a free one.",
        variable: "MIMOSA_HTTP_PORT",
        byDefault: 6381,
        min: 0,
        max: portMax
      }),
      dataDir: text("data-dir", "<folder>", {
        meaning: "Keeps what survives a restart; for one server at a time.",
        variable: "MIMOSA_DATA_DIR",
        byDefault: ".mimosa"
      }),
      maxEntries: integer("max-entries", "<n>", {
        meaning: "Entries at most; the least recently used are evicted.",
        variable: "MIMOSA_MAX_ENTRIES",
        byDefault: 50_000,
        min: 1,
        max: 2 ** 24 // what the kernel's slot table can number
      }),
      maxBytes: integer("max-bytes", "<n>", {
        meaning: "Bytes of keys, values and metadata at most.",
        variable: "MIMOSA_MAX_BYTES",
        byDefault: 512 * 1024 * 1024,
        min: 64 * 1024,
        max: Number.MAX_SAFE_INTEGER
      }),
      egressAllow: texts("egress-allow", "<list>", {
        meaning: "Private addresses that webhooks may reach; may be repeated.",
        variable: "MIMOSA_EGRESS_ALLOW"
      }),
      logFormat: choice("log-format", ["json", "pretty"], {
        meaning: "How records look on stderr.",
        variable: "MIMOSA_LOG_FORMAT",
        byDefault: "pretty on a terminal, else json"
      })
    },
    notes: [
      "Public addresses are always open to webhooks. An item of --egress-allow is host[:port], ip[:port], [ipv6]:port,",
      "ip/bits or *; commas separate several: --egress-allow 127.0.0.1:9000,10.0.0.0/8",
      "",
      "Ends with 0 after SIGINT or SIGTERM, 1 when it cannot start, 70 when its processes cannot be kept running."
    ],
    run: (options) =>
      Effect.flatMap(
        load(() => import("./serve.ts")),
        ({ serve }) => serve(options)
      )
  }),
  command({
    path: "ping",
    summary: "Ask a server whether it is there.",
    options: clientOptions,
    run: (options) =>
      Effect.flatMap(
        load(() => import("./ping.ts")),
        ({ ping }) => ping(options)
      )
  }),
  command({
    path: "processes",
    summary: "Print a server's supervision tree.",
    options: {
      host: clientOptions.host,
      httpPort: integer("http-port", "<port>", {
        meaning: "The server's HTTP port.",
        variable: "MIMOSA_HTTP_PORT",
        byDefault: 6381,
        min: 1,
        max: portMax
      }),
      json: clientOptions.json
    },
    run: (options) =>
      Effect.flatMap(
        load(() => import("./processes.ts")),
        ({ processes }) => processes(options)
      )
  }),
  command({
    path: "trigger set",
    summary: "Register a trigger, or replace the one of that name.",
    arguments: [
      { name: "<name>", meaning: "1 to 128 letters, digits, '_', '.', ':' or '-'." },
      { name: "<pattern>", meaning: "A key, or a prefix that ends in one '*'. Quote it." },
      { name: "<EVENT,...>", meaning: `One or more of ${events}.` }
    ],
    options: {
      ...source,
      timeout: integer("timeout", "<us>", {
        meaning: "Soft limit of one run in microseconds, to 1000; the server's default is 100.",
        min: 1,
        max: 1_000
      }),
      memory: integer("memory", "<bytes>", {
        meaning: "What one run may allocate, to 1 MiB; the server's default is 64 KiB.",
        min: 1,
        max: 1024 * 1024
      }),
      priority: integer("priority", "<n>", {
        meaning: "Higher runs first.",
        byDefault: 0,
        min: -1_000_000,
        max: 1_000_000
      }),
      ...clientOptions
    },
    notes: [
      "Without --file and --source the source is read from stdin:",
      "",
      "  mimosa trigger set ended 'session:*' ON_EXPIRE --source 'cache.emit(\"ended\", event.key)'",
      "  mimosa trigger set ended 'session:*' ON_EXPIRE < ended.lua"
    ],
    run: (options, args) => Effect.flatMap(triggers, ({ set }) => set(options, args))
  }),
  command({
    path: "trigger list",
    summary: "List the triggers.",
    arguments: [{ name: "[glob]", meaning: "Only those whose name matches." }],
    options: clientOptions,
    run: (options, args) => Effect.flatMap(triggers, ({ list }) => list(options, args))
  }),
  command({
    path: "trigger info",
    summary: "Show a trigger: limits, runs, errors by kind, microseconds, source.",
    arguments: [{ name: "<name>", meaning: "The trigger." }],
    options: clientOptions,
    run: (options, args) => Effect.flatMap(triggers, ({ info }) => info(options, args))
  }),
  command({
    path: "trigger test",
    summary: "Run a trigger, or a source, on a made-up event. Nothing happens.",
    arguments: [
      { name: "[name]", meaning: "A registered trigger; leave it out with --file or --source." },
      { name: "<EVENT>", meaning: `One of ${events}.` },
      { name: "<key>", meaning: "The key that the event is about." },
      { name: "<value>", meaning: "The value; of a delete, expiry or eviction the one that goes." }
    ],
    options: {
      ...source,
      old: text("old", "<value>", { meaning: "The value before a write." }),
      meta: text("meta", "<json>", { meaning: "The metadata, a JSON object." }),
      ...clientOptions
    },
    notes: ["  mimosa trigger test ON_WRITE price:apple 4 --old 3 --source 'return event.value - event.old_value'"],
    run: (options, args) => Effect.flatMap(triggers, ({ test }) => test(options, args))
  }),
  command({
    path: "trigger remove",
    summary: "Remove a trigger.",
    arguments: [{ name: "<name>", meaning: "The trigger." }],
    options: clientOptions,
    run: (options, args) => Effect.flatMap(triggers, ({ remove }) => remove(options, args))
  }),
  command({
    path: "trigger log",
    summary: "Show what failed and what did not run, newest first.",
    arguments: [{ name: "[count]", meaning: "How many records; 10 by default." }],
    options: clientOptions,
    run: (options, args) => Effect.flatMap(triggers, ({ log }) => log(options, args))
  })
]

const load = <Module>(module: () => Promise<Module>): Effect.Effect<Module, CliError> => Effect.promise(module)

const triggers = load(() => import("./trigger.ts"))
