/** Publish and subscribe over RESP. */
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"

const subscribe: Handler = (client, args) => {
  for (let i = 1; i < args.length; i++) {
    const channel = args[i] as string
    if (!hasRoom(client, channel, client.channels)) return client.fail(RespError.tooManySubscriptions(subscriptionsMax))
    client.channels.add(channel)
    client.server.bus.subscribe(channel, client)
    confirm(client, "subscribe", channel)
  }
  client.settleSubscribed()
}

const psubscribe: Handler = (client, args) => {
  for (let i = 1; i < args.length; i++) {
    const pattern = args[i] as string
    if (!hasRoom(client, pattern, client.patterns)) return client.fail(RespError.tooManySubscriptions(subscriptionsMax))
    client.patterns.add(pattern)
    client.server.bus.psubscribe(pattern, client)
    confirm(client, "psubscribe", pattern)
  }
  client.settleSubscribed()
}

const unsubscribe: Handler = (client, args) => {
  const channels = args.length > 1 ? args.slice(1) : [...client.channels]
  for (const channel of channels) {
    if (client.channels.delete(channel)) client.server.bus.unsubscribe(channel, client)
    confirm(client, "unsubscribe", channel)
  }
  if (channels.length === 0) confirm(client, "unsubscribe", undefined)
  client.settleSubscribed()
}

const punsubscribe: Handler = (client, args) => {
  const patterns = args.length > 1 ? args.slice(1) : [...client.patterns]
  for (const pattern of patterns) {
    if (client.patterns.delete(pattern)) client.server.bus.punsubscribe(pattern, client)
    confirm(client, "punsubscribe", pattern)
  }
  if (patterns.length === 0) confirm(client, "punsubscribe", undefined)
  client.settleSubscribed()
}

const publish: Handler = ({ server, reply }, args) =>
  reply.integer(server.bus.publish(args[1] as string, args[2] as string))

const pubsubChannels: Handler = ({ server, reply }, args) => reply.bulks(server.bus.channels(args[2]))

const pubsubNumsub: Handler = ({ server, reply }, args) => {
  reply.array((args.length - 2) * 2)
  for (let i = 2; i < args.length; i++) {
    reply.bulk(args[i] as string)
    reply.integer(server.bus.subscriberCount(args[i] as string))
  }
}

const pubsubNumpat: Handler = ({ server, reply }) => reply.integer(server.bus.patternCount)

/** What was done to which channel, and how many subscriptions there are now. */
const confirm = ({ reply, subscriptionCount }: Client, what: string, name: string | undefined): void => {
  reply.push(3)
  reply.bulk(what)
  if (name === undefined) reply.nil()
  else reply.bulk(name)
  reply.integer(subscriptionCount)
}

const hasRoom = (client: Client, name: string, among: ReadonlySet<string>): boolean =>
  client.subscriptionCount < subscriptionsMax || among.has(name)

const subscriptionsMax = 65_536 // channels and patterns of one client; keeps what one connection holds bounded

export const pubsub: CommandFamily = {
  group: "pubsub",
  commands: [
    {
      name: "subscribe",
      arity: -2,
      flags: ["pubsub", "noscript", "loading", "stale"],
      syntax: "channel [channel ...]",
      summary: "Listens to channels.",
      since: "2.0.0",
      run: subscribe
    },
    {
      name: "psubscribe",
      arity: -2,
      flags: ["pubsub", "noscript", "loading", "stale"],
      syntax: "pattern [pattern ...]",
      summary: "Listens to the channels that globs match.",
      since: "2.0.0",
      run: psubscribe
    },
    {
      name: "unsubscribe",
      arity: -1,
      flags: ["pubsub", "noscript", "loading", "stale"],
      syntax: "[channel [channel ...]]",
      summary: "Stops listening to channels.",
      since: "2.0.0",
      run: unsubscribe
    },
    {
      name: "punsubscribe",
      arity: -1,
      flags: ["pubsub", "noscript", "loading", "stale"],
      syntax: "[pattern [pattern ...]]",
      summary: "Stops listening to globs.",
      since: "2.0.0",
      run: punsubscribe
    },
    {
      name: "publish",
      arity: 3,
      flags: ["pubsub", "loading", "stale", "fast"],
      syntax: "channel message",
      summary: "Sends a message to the listeners of a channel.",
      since: "2.0.0",
      run: publish
    },
    {
      name: "pubsub",
      arity: -2,
      flags: [],
      summary: "A container for commands about channels.",
      since: "2.8.0",
      subcommands: [
        {
          name: "channels",
          arity: -2,
          flags: ["pubsub", "loading", "stale"],
          syntax: "[<pattern>]",
          summary: "Returns the channels that somebody listens to.",
          since: "2.8.0",
          run: pubsubChannels
        },
        {
          name: "numsub",
          arity: -2,
          flags: ["pubsub", "loading", "stale"],
          syntax: "[<channel> ...]",
          summary: "Returns the number of listeners of channels.",
          since: "2.8.0",
          run: pubsubNumsub
        },
        {
          name: "numpat",
          arity: 2,
          flags: ["pubsub", "loading", "stale"],
          summary: "Returns the number of distinct globs listened to.",
          since: "2.8.0",
          run: pubsubNumpat
        }
      ]
    }
  ]
}
