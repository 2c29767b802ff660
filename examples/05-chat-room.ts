/**
 * A chat room: its members are processes that subscribe to it and stand in a registry. Who leaves, or crashes, is out of the room in that
 * moment, whatever it forgot to say; the room's host learns it by a monitor and tells the others.
 */
import { Effect, Logger, LogLevel } from "effect"
import { ExitReason, GenServer, type Pid, Process, PubSub, Registry } from "mimosa-cache/actor"

interface Line {
  readonly _tag: "Line"
  readonly from: string
  readonly text: string
}
const line = (from: string, text: string): Line => ({ _tag: "Line", from, text })

const room = "lobby"
const lines = PubSub.unsafeMake<Line>()
const members = Registry.unsafeMake<string>({ keys: "duplicate" }) // under a room: its members, with their names
const names = Registry.unsafeMake({ keys: "unique" })

type HostProtocol = { readonly cast: { readonly joined: Pid.Pid; readonly name: string } }
const host = Registry.via<GenServer.RefOf<HostProtocol>>(names, "host")

const Host = GenServer.define<HostProtocol>()({
  name: "host",
  init: () => GenServer.Ok(new Map<Pid.Pid, string>()),
  handleCast: ({ joined, name }, guests) => {
    PubSub.unsafeBroadcast(lines, room, line("host", `welcome ${name}`))
    return Effect.as(Process.monitor(joined), GenServer.NoReply(new Map(guests).set(joined, name)))
  },
  handleInfo: (message, guests) => {
    if (message._tag === "Down") {
      const text = `${guests.get(message.pid)} is gone (${ExitReason.format(message.reason)})`
      PubSub.unsafeBroadcast(lines, room, line("host", text))
    }
    return GenServer.NoReply(guests)
  }
})

const Member = GenServer.define<{ readonly cast: string; readonly info: Line }>()({
  name: "member",
  init: (name: string) =>
    Effect.gen(function* () {
      yield* Registry.register(members, room, name)
      yield* PubSub.subscribe(lines, room)
      yield* GenServer.cast(host, { joined: yield* Process.self, name })
      return GenServer.Ok(name)
    }),
  handleCast: (text, name) => {
    if (text === "") throw new Error("nothing to say")
    return Effect.as(PubSub.broadcastFrom(lines, room, line(name, text)), GenServer.NoReply(name))
  },
  handleInfo: (message, name) => {
    if (message._tag === "Line") console.log(`${name.padEnd(4)}| ${message.from}: ${message.text}`)
    return GenServer.NoReply(name)
  }
})

const everybodyReads = Effect.sleep("5 millis")
const whoIsThere = Effect.map(Registry.lookup(members, room), (entries) => entries.map(({ value }) => value))

const program = Effect.gen(function* () {
  yield* GenServer.start(Host, undefined, { name: host })
  const [ada, joe, mike] = yield* Effect.forEach(["ada", "joe", "mike"], (name) =>
    Effect.zipLeft(GenServer.start(Member, name, { label: name }), everybodyReads)
  )
  if (ada === undefined || joe === undefined || mike === undefined) return
  console.log("in the room:", yield* whoIsThere)

  yield* GenServer.cast(ada, "hello all")
  yield* everybodyReads
  yield* GenServer.stop(joe) // leaves
  console.log("in the room:", yield* whoIsThere) // before anybody was told
  yield* everybodyReads
  yield* GenServer.cast(mike, "") // crashes
  yield* everybodyReads
  console.log("in the room:", yield* whoIsThere)
  console.log("subscribers:", yield* PubSub.subscribers(lines, room))
})

await program.pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None), Effect.runPromise)
