/**
 * The commands of `mimosa`, one row each: a new one is a row here and a file that its `run` loads. What a command does is
 * loaded when it runs, and only `serve` loads Effect, which alone takes 0.3 s: a command that a person types, or a script
 * calls in a loop, is to answer at once.
 */
import { CliError } from "./CliError.ts"
import { type CommandRow, command } from "./Command.ts"
import { bytes, choice, flag, integer, type Needs, text, texts } from "./Option.ts"

const portMax = 65_535
const password = text("password", "<text>", {
  meaning: "The server's password; ps shows it, and not the variable.",
  variable: "MIMOSA_PASSWORD"
})
const clientOptions = {
  host: text("host", "<address>", { meaning: "Where the server is.", variable: "MIMOSA_HOST", byDefault: "127.0.0.1" }),
  port: integer("port", "<port>", {
    meaning: "Its port for Redis clients.",
    variable: "MIMOSA_PORT",
    byDefault: 6380,
    min: 1,
    max: portMax
  }),
  password,
  json: flag("json", { meaning: "Print JSON, for programs." })
}

/** Of what is asked of one server, or of several. */
const serversOptions = {
  server: texts("server", "<host:port>", {
    meaning: "In the place of --host and --port: a server; may be repeated.",
    variable: "MIMOSA_SERVERS"
  }),
  ...clientOptions
}

/** Of what has triggers: an operator's own are those of no tenant. */
const ownerOptions = {
  tenant: text("tenant", "<id>", {
    meaning: "Act as this tenant: its triggers and logs, patterns and keys without its prefix."
  }),
  ...clientOptions
}

const source = {
  file: text("file", "<script.lua>", { meaning: "Read the Lua source from this file; - for stdin." }),
  source: text("source", "<lua>", { meaning: "The Lua source itself." })
}

const names = "1 to 128 letters, digits, '_', '.', ':' or '-'."
const eventNames = [
  "ON_WRITE, ON_READ, ON_DELETE, ON_EXPIRE, ON_EVICT, ON_FLUSH, ON_TOUCH,",
  "BEFORE_WRITE and BEFORE_DELETE"
].join(" ")

const triggerName = { name: "<name>", meaning: "The trigger." }
const pattern = {
  name: "<pattern>",
  meaning: "A key, a prefix that ends in '*', or any other glob, which is slower. Quote it."
}
const events = { name: "<EVENT,...>", meaning: `Of ${eventNames}.` }

const limits = {
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
  failclosed: flag("failclosed", { meaning: "What a BEFORE_ trigger cannot judge is refused, not let through." }),
  isolate: flag("isolate", { meaning: "Globals do not outlive a run." })
}
const definition = {
  ...source,
  ...limits,
  priority: integer("priority", "<n>", {
    meaning: "Higher runs first.",
    byDefault: 0,
    min: -1_000_000,
    max: 1_000_000
  }),
  when: choice("when", ["changed"], {
    meaning: "Not for writes that store the value that was there.",
    byDefault: "any write"
  }),
  sample: integer("sample", "<n>", { meaning: "Run on one event in so many.", byDefault: 1, min: 1, max: 1_000_000 }),
  include: texts("include", "<what>", {
    meaning: "fill: ON_WRITE also for copies of loaders and peers; flush: ON_DELETE for each key of a flush."
  }),
  scope: choice("scope", ["local", "all"], {
    meaning: "local: not for what another instance did.",
    byDefault: "all"
  }),
  disabled: flag("disabled", { meaning: "Register it, and have it run on nothing until it is enabled." })
}
const fromStdin = "Without --file and --source the source is read from stdin:"

const folder = {
  name: "<folder>",
  meaning: "Its .lua files, and those of the folders in it: one a trigger; or one file."
}
const prune = flag("prune", { meaning: "Remove the triggers that no file says." })
const verbose = flag("verbose", { meaning: "Name the triggers that only the server has, too." })
const followArgument = { name: "[-f]", meaning: "As --follow." }

const egressAllow = texts("egress-allow", "<list>", {
  meaning: "Private addresses that webhooks and scripts may reach; repeatable.",
  variable: "MIMOSA_EGRESS_ALLOW"
})
const httpAllow = texts("http-allow", "<list>", {
  meaning: "Hosts that scripts may reach by http.request; repeatable.",
  variable: "MIMOSA_HTTP_ALLOW"
})

/** Of options that say how keys are shared: with whom is another one. */
const ofSharing: Needs = { namespace: "any" }
/** A server of one's own is reached by its URL alone. */
const ofMesh: Needs = { ...ofSharing, coherence: { only: "mesh" } }

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
      maxBytes: bytes("max-bytes", "<size>", {
        meaning: "Bytes of keys, values and metadata at most: 64mb, 1gb.",
        variable: "MIMOSA_MAX_BYTES",
        byDefault: 512 * 1024 * 1024,
        min: 64 * 1024,
        max: Number.MAX_SAFE_INTEGER
      }),
      eventLog: integer("event-log", "<n>", {
        meaning: "Last events kept for dry runs on history; 0 keeps none.",
        variable: "MIMOSA_EVENT_LOG",
        byDefault: 1_000,
        min: 0,
        max: 1_000 // as many as a dry run looks at
      }),
      password: text("password", "<text>", {
        meaning: "Asked of clients on both ports; ps shows it, and not the variable.",
        variable: "MIMOSA_PASSWORD"
      }),
      enableDebugCommand: flag("enable-debug-command", {
        meaning: "Allow DEBUG CRASH, which crashes a process to show that it comes back."
      }),
      egressAllow,
      httpAllow,
      namespace: text("namespace", "<name>", {
        meaning: "Share keys with every instance of this name; by default with none.",
        variable: "MIMOSA_NAMESPACE"
      }),
      coherence: text("coherence", "mesh|<url>", {
        meaning: "Their own mesh, or nats://host:4222, redis://host:6379.",
        variable: "MIMOSA_COHERENCE",
        needs: ofSharing,
        byDefault: "mesh"
      }),
      meshHost: text("mesh-host", "<address>", {
        meaning: "Where the mesh listens: loopback without a secret, else everywhere.",
        variable: "MIMOSA_MESH_HOST",
        needs: ofMesh
      }),
      meshPort: integer("mesh-port", "<port>", {
        meaning: "Port of the mesh; 0 takes a free one.",
        variable: "MIMOSA_MESH_PORT",
        needs: ofMesh,
        byDefault: 0,
        min: 0,
        max: portMax
      }),
      peers: texts("peers", "<host:port,...>", {
        meaning: "Instances to begin with, where no beacon reaches them; repeatable.",
        variable: "MIMOSA_PEERS",
        needs: ofMesh
      }),
      meshDns: text("mesh-dns", "<name:port>", {
        meaning: "A name whose addresses are the instances': a headless service.",
        variable: "MIMOSA_MESH_DNS",
        needs: ofMesh
      }),
      meshSecret: text("mesh-secret", "<text>", {
        meaning: "What all instances know; ps shows it, and not the variable.",
        variable: "MIMOSA_MESH_SECRET",
        needs: ofSharing
      }),
      region: text("region", "<name>", {
        meaning: "Where this instance is: regions are connected by two gateways each.",
        variable: "MIMOSA_REGION",
        needs: ofSharing
      }),
      partitionTtlMs: integer("partition-ttl", "<ms>", {
        meaning: "What copies live at most while others are not heard.",
        variable: "MIMOSA_PARTITION_TTL",
        needs: ofSharing,
        byDefault: 5_000,
        min: 0,
        max: 86_400_000
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
      "Scripts reach no host that --http-allow does not name: --http-allow api.example.com,*.partner.example:8443",
      "",
      "Ends with 0 after SIGINT or SIGTERM, 1 when it cannot start, 70 when its processes cannot be kept running."
    ],
    run: async (options) => (await import("./serve.ts")).serve(options)
  }),
  command({
    path: "ping",
    summary: "Ask a server whether it is there.",
    options: clientOptions,
    run: async (options) => (await import("./ping.ts")).ping(options)
  }),
  command({
    path: "top",
    summary: "Watch a server: its supervision tree, what each process does, and how busy it is.",
    options: {
      host: clientOptions.host,
      port: integer("http-port", "<port>", {
        meaning: "The server's HTTP port.",
        variable: "MIMOSA_HTTP_PORT",
        byDefault: 6381,
        min: 1,
        max: portMax
      }),
      password,
      once: flag("once", { meaning: "Print one picture and end; so it is where stdout is no terminal." }),
      json: flag("json", { meaning: "Print the tree once, as JSON, for programs." })
    },
    notes: [
      "Refreshed each second; q or Ctrl-C leaves. Rates are those of the last second, unknown in the first picture."
    ],
    run: async (options) => (await import("./top.ts")).top(options)
  }),
  command({
    path: "trigger set",
    summary: "Register a trigger, or replace the one of that name, of which earlier versions are kept.",
    arguments: [{ name: "<name>", meaning: names }, pattern, events],
    options: { ...definition, ...ownerOptions },
    notes: [
      fromStdin,
      "",
      "  mimosa trigger set ended 'session:*' ON_EXPIRE --source 'cache.emit(\"ended\", event.key)'",
      "  mimosa trigger set ended 'session:*' ON_EXPIRE < ended.lua"
    ],
    run: async (options, args) => (await import("./trigger.ts")).set(options, args)
  }),
  command({
    path: "trigger register",
    summary: "Register a trigger under a name that is made from its pattern and events.",
    arguments: [pattern, events],
    options: { ...definition, ...ownerOptions },
    notes: [
      fromStdin,
      "",
      "  mimosa trigger register 'session:*' ON_EXPIRE <<'LUA'",
      "  cache.emit('ended', event.key)",
      "  LUA"
    ],
    run: async (options, args) => (await import("./trigger.ts")).register(options, args)
  }),
  command({
    path: "trigger list",
    summary: "List the triggers.",
    arguments: [{ name: "[glob]", meaning: "Only those whose name matches." }],
    options: ownerOptions,
    run: async (options, args) => (await import("./triggerViews.ts")).list(options, args)
  }),
  command({
    path: "trigger info",
    summary: "Show a trigger: versions, limits, runs, errors by kind, microseconds, warnings, source.",
    arguments: [triggerName],
    options: ownerOptions,
    run: async (options, args) => (await import("./triggerViews.ts")).info(options, args)
  }),
  command({
    path: "trigger test",
    summary: "Run a folder's inline tests; or a trigger, or a source, on events. Nothing happens.",
    arguments: [
      { name: "[folder]", meaning: "Alone: its files' tests, or one file's, are run here, without a server." },
      { name: "[name]", meaning: "A trigger; with --file or --source, that source in its place." },
      { name: "<EVENT>", meaning: "A made-up one, as ON_WRITE; mimosa trigger set --help names them." },
      { name: "<key>", meaning: "The key that the event is about." },
      { name: "<value>", meaning: "The value; of a delete, expiry or eviction the one that goes." }
    ],
    usage: ["<folder>", "[name] <EVENT> <key> <value> [options]", "[name] --history <n> [options]"],
    argumentsMin: 0,
    options: {
      ...source,
      history: integer("history", "<n>", {
        meaning: "In the place of EVENT, key and value: the last n events that happened.",
        min: 1,
        max: 1_000
      }),
      old: text("old", "<value>", { meaning: "The value before a write." }),
      meta: text("meta", "<json>", { meaning: "The metadata, a JSON object." }),
      ...ownerOptions
    },
    notes: [
      "  mimosa trigger test triggers/",
      "  mimosa trigger test ON_WRITE price:apple 4 --old 3 --source 'return event.value - event.old_value'",
      "  mimosa trigger test stock --history 100",
      "  mimosa trigger test stock --file new-stock.lua --history 100    shows what would be different"
    ],
    run: async (options, args) => {
      const { history, old, meta, file, source } = options
      if (history !== undefined) {
        if (args.length > 1 || old !== undefined || meta !== undefined) {
          throw new CliError("--history takes the events that happened: leave out EVENT, key, value, --old and --meta")
        }
        return (await import("./triggerTest.ts")).test(options, args)
      }
      if (args.length > 2 && args.length < 5) return (await import("./triggerTest.ts")).test(options, args)
      if (args.length === 1 && file === undefined && source === undefined) {
        return (await import("./triggerFiles.ts")).test(options, args)
      }
      throw new CliError(
        "mimosa trigger test takes a folder alone, or [name] <EVENT> <key> <value>, or [name] with --history <n>"
      )
    }
  }),
  command({
    path: "trigger versions",
    summary: "Show the versions of a trigger that are kept, newest first.",
    arguments: [triggerName],
    options: ownerOptions,
    run: async (options, args) => (await import("./trigger.ts")).versions(options, args)
  }),
  command({
    path: "trigger rollback",
    summary: "Have an earlier version of a trigger run again.",
    arguments: [triggerName, { name: "[version]", meaning: "Its number; without one the version before." }],
    options: ownerOptions,
    run: async (options, args) => (await import("./trigger.ts")).rollback(options, args)
  }),
  command({
    path: "trigger shadow",
    summary: "Run a source beside a trigger, on the same events, and drop all that it would do.",
    arguments: [triggerName, { name: "[drop|promote]", meaning: "End it, or have it take the trigger's place." }],
    options: { ...source, ...limits, ...ownerOptions },
    notes: [
      "  mimosa trigger shadow stock --file new-stock.lua",
      "  mimosa trigger shadow stock            shows the figures of both",
      "  mimosa trigger shadow stock promote"
    ],
    run: async (options, args) => (await import("./trigger.ts")).shadow(options, args)
  }),
  command({
    path: "trigger graph",
    summary: "Show what triggers watch, read and write, which set off which, and cycles of them.",
    options: ownerOptions,
    run: async (options) => (await import("./triggerViews.ts")).graph(options)
  }),
  command({
    path: "trigger apply",
    summary: "Bring a server to what a folder of trigger files says, showing the difference first.",
    arguments: [folder],
    options: {
      prune,
      yes: flag("yes", { meaning: "Ask nobody." }),
      dryRun: flag("dry-run", { meaning: "Show what would be done, and do nothing." }),
      noTest: flag("no-test", { meaning: "Do not run the files' own tests, which have to pass, first." }),
      verbose,
      ...ownerOptions
    },
    run: async (options, args) => (await import("./triggerFiles.ts")).apply(options, args)
  }),
  command({
    path: "trigger diff",
    summary: "Show how a server differs from a folder of trigger files; ends with 1 when it does.",
    arguments: [folder],
    options: { prune, verbose, ...ownerOptions },
    run: async (options, args) => (await import("./triggerFiles.ts")).diff(options, args)
  }),
  command({
    path: "trigger enable",
    summary: "Have a disabled or quarantined trigger run again.",
    arguments: [triggerName],
    options: ownerOptions,
    run: async (options, args) => (await import("./trigger.ts")).enable(options, args)
  }),
  command({
    path: "trigger disable",
    summary: "Have a trigger run on nothing until it is enabled.",
    arguments: [triggerName],
    options: ownerOptions,
    run: async (options, args) => (await import("./trigger.ts")).disable(options, args)
  }),
  command({
    path: "trigger remove",
    summary: "Remove a trigger.",
    arguments: [triggerName],
    options: ownerOptions,
    run: async (options, args) => (await import("./trigger.ts")).remove(options, args)
  }),
  command({
    path: "trigger log",
    summary: "Show what failed and what did not run, newest first.",
    arguments: [{ name: "[count]", meaning: "How many records; 10 by default." }],
    options: ownerOptions,
    run: async (options, args) => (await import("./triggerViews.ts")).log(options, args)
  }),
  command({
    path: "logs",
    summary: "Show what triggers have logged: the streams, or the last lines of one.",
    arguments: [
      { name: "[stream]", meaning: "As cache.log names it; what print says is in 'default'." },
      followArgument
    ],
    options: {
      follow: flag("follow", {
        meaning: "Go on with what is logged from now on, of one stream or of all; so does -f."
      }),
      count: integer("count", "<n>", {
        meaning: "How many of a stream's last lines.",
        byDefault: 10,
        min: 0,
        max: 10_000
      }),
      ...ownerOptions
    },
    notes: [
      "  mimosa logs",
      "  mimosa logs audit --count 100",
      "  mimosa logs -f",
      "  mimosa logs audit --tenant shop"
    ],
    run: async (options, args) => (await import("./logs.ts")).logs(options, args)
  }),
  command({
    path: "coherence status",
    summary: "Show how servers stand: coherent or degraded and why, members, counters that are not 0.",
    options: serversOptions,
    run: async (options) => (await import("./coherence.ts")).status(options)
  }),
  command({
    path: "coherence peers",
    summary: "Show the other instances that a server knows of, and how far each has come.",
    options: serversOptions,
    run: async (options) => (await import("./coherence.ts")).peers(options)
  }),
  command({
    path: "coherence lag",
    summary: "Show for each other instance how many of its records are missing, and for how long.",
    options: serversOptions,
    run: async (options) => (await import("./coherence.ts")).lag(options)
  }),
  command({
    path: "coherence trace",
    summary:
      "Show what servers know of a key: the entry, who wrote it, who would be asked, whether it is fetched ahead.",
    arguments: [{ name: "<key>", meaning: "The key, as it is displayed: a tenant's with its prefix." }],
    options: serversOptions,
    run: async (options, args) => (await import("./coherence.ts")).trace(options, args)
  }),
  command({
    path: "coherence doctor",
    summary: "Look for stale entries by comparing servers' entries with each other.",
    options: {
      samples: integer("samples", "<n>", {
        meaning: "How many entries, taken at random, of each server.",
        byDefault: 1_000,
        min: 1,
        max: 100_000
      }),
      ...serversOptions
    },
    notes: [
      "An entry that is lower than elsewhere is looked at again after 100 ms, 1 s and 10 s. With nothing to suspect it",
      "answers at once. Each server looks at what it holds itself: name them all to have all looked at.",
      "Ends with 0 when nothing is stale, 1 when something is, or not all have answered, 2 when nothing was compared.",
      "",
      "  mimosa coherence doctor --server 10.0.0.1:6380 --server 10.0.0.2:6380 --samples 10000"
    ],
    run: async (options) => (await import("./coherenceDoctor.ts")).doctor(options)
  }),
  command({
    path: "coherence forget",
    summary: "Have servers stop waiting for an instance that will not come back.",
    arguments: [{ name: "<name>", meaning: "As mimosa coherence peers shows it." }],
    options: serversOptions,
    run: async (options, args) => (await import("./coherence.ts")).forget(options, args)
  }),
  command({
    path: "run",
    summary: "Run a script's function: here, with a cache of its own, or on a server for a tenant.",
    arguments: [
      { name: "<script.lua>", meaning: "The script; - for stdin." },
      { name: "[function]", meaning: "Its global function; main by default." }
    ],
    options: {
      arg: texts("arg", "<json>", { meaning: "An argument: JSON, or a text that is none; once for each." }),
      prefix: text("prefix", "<prefix>", {
        meaning: "Here: the tenant's prefix; keys are shown as prefix:key.",
        byDefault: "local"
      }),
      env: texts("env", "<name=value>", { meaning: "Here: a frozen global, JSON or a text; may be repeated." }),
      seed: integer("seed", "<n>", {
        meaning: "Here: where math.random begins.",
        min: -(2 ** 31),
        max: 2 ** 31 - 1
      }),
      repeat: integer("repeat", "<n>", {
        meaning: "Here: so many runs over one cache.",
        byDefault: 1,
        min: 1,
        max: 1_000_000
      }),
      egressAllow,
      httpAllow,
      tenant: text("tenant", "<id>", { meaning: "On a server: the tenant for whom it runs." }),
      host: clientOptions.host,
      port: clientOptions.port,
      password
    },
    notes: [
      "What the script prints goes to stderr, and what it returns to stdout, as JSON: 1 is an integer, 1.0 a float.",
      "",
      "  mimosa run rate-limit.lua check_rate_limit --prefix tenant_123 --arg alice --arg 5 --arg 60",
      "  mimosa run report.lua --tenant tenant_123 --port 6380"
    ],
    run: async (options, args) => (await import("./run.ts")).run(options, args)
  }),
  command({
    path: "shell",
    summary: "A prompt for Redis commands, and for Lua over several lines; reads from a pipe, too.",
    options: {
      host: clientOptions.host,
      port: clientOptions.port,
      password,
      raw: flag("raw", { meaning: "Print replies without quotes, numbers and types, for programs." })
    },
    notes: [
      "A last word <<LUA takes the lines that follow for a text, up to one that says LUA:",
      "",
      "  127.0.0.1:6380> TRIGGER REGISTER 'session:*' ON_EXPIRE <<LUA",
      "  LUA> cache.emit('ended', event.key)",
      "  LUA> LUA",
      "",
      "Where stdin is no terminal it runs the lines and ends with 1 when one of them failed."
    ],
    run: async (options) => (await import("./shell.ts")).shell(options)
  })
]
