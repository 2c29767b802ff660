/** Publish and subscribe over RESP. */
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"

const subscribe: Handler = (client, args) => {
  for (let i = 1; i < args.length; i++) {
    const channel = args[i] as string
    const refusal = client.subscribe(channel)
    if (refusal === undefined) confirm(client, "subscribe", channel)
    else {
      client.fail(refusal)
      break
    }
  }
  client.settleSubscribed()
}

const psubscribe: Handler = (client, args) => {
  for (let i = 1; i < args.length; i++) {
    const pattern = args[i] as string
    const refusal = client.psubscribe(pattern)
    if (refusal === undefined) confirm(client, "psubscribe", pattern)
    else {
      client.fail(refusal)
      break
    }
  }
  client.settleSubscribed()
}

const unsubscribe: Handler = (client, args) => {
  const channels = args.length > 1 ? args.slice(1) : [...client.channels]
  for (const channel of channels) {
    client.unsubscribe(channel)
    confirm(client, "unsubscribe", channel)
  }
  if (channels.length === 0) confirm(client, "unsubscribe", undefined)
  client.settleSubscribed()
}

const punsubscribe: Handler = (client, args) => {
  const patterns = args.length > 1 ? args.slice(1) : [...client.patterns]
  for (const pattern of patterns) {
    client.punsubscribe(pattern)
    confirm(client, "punsubscribe", pattern)
  }
  if (patterns.length === 0) confirm(client, "punsubscribe", undefined)
  client.settleSubscribed()
}

const publish: Handler = (client, args) => {
  const { bus, settings, turns } = client.server
  const channel = client.channelScope + (args[1] as string)
  if (channel.length > settings.channelBytesMax) return client.fail(RespError.channelTooLong(settings.channelBytesMax))
  const receivers = bus.publish(channel, args[2] as string)
  turns.count(receivers + bus.patternCount)
  client.reply.integer(receivers)
}

const pubsubChannels: Handler = (client, args) => {
  const { bus, settings } = client.server
  const glob = args[2]
  if (glob !== undefined && glob.length > settings.channelBytesMax) {
    return client.fail(RespError.channelTooLong(settings.channelBytesMax))
  }
  const { channelScope, patternScope } = client
  if (channelScope === "") return client.reply.bulks(bus.channels(glob))
  const found = bus.channels(patternScope + (glob ?? "*"))
  client.reply.bulks(found.map((channel) => channel.slice(channelScope.length)))
}

const pubsubNumsub: Handler = ({ server, reply, channelScope }, args) => {
  reply.array((args.length - 2) * 2)
  for (let i = 2; i < args.length; i++) {
    reply.bulk(args[i] as string)
    reply.integer(server.bus.subscriberCount(channelScope + (args[i] as string)))
  }
}

const pubsubNumpat: Handler = ({ server, tenant, patternScope, reply }) => {
  if (tenant === null) return reply.integer(server.bus.patternCount)
  let patterns = 0
  for (const pattern of server.patterns.keys()) if (pattern.startsWith(patternScope)) patterns++
  reply.integer(patterns)
}

/** What was done to which channel, and how many subscriptions there are now. */
const confirm = ({ reply, subscriptionCount }: Client, what: string, name: string | undefined): void => {
  reply.push(3)
  reply.bulk(what)
  if (name === undefined) reply.nil()
  else reply.bulk(name)
  reply.integer(subscriptionCount)
}

export const pubsub: CommandFamily = {
  group: "pubsub",
  commands: [
    {
      name: "subscribe",
      arity: -2,
      flags: ["pubsub", "noscript", "loading", "stale"],
      reach: "own",
      syntax: "channel [channel ...]",
      summary: "Listens to channels.",
      since: "2.0.0",
      run: subscribe
    },
    {
      name: "psubscribe",
      arity: -2,
      flags: ["pubsub", "noscript", "loading", "stale"],
      reach: "own",
      syntax: "pattern [pattern ...]",
      summary: "Listens to the channels that globs match.",
      since: "2.0.0",
      run: psubscribe
    },
    {
      name: "unsubscribe",
      arity: -1,
      flags: ["pubsub", "noscript", "loading", "stale"],
      reach: "own",
      syntax: "[channel [channel ...]]",
      summary: "Stops listening to channels.",
      since: "2.0.0",
      run: unsubscribe
    },
    {
      name: "punsubscribe",
      arity: -1,
      flags: ["pubsub", "noscript", "loading", "stale"],
      reach: "own",
      syntax: "[pattern [pattern ...]]",
      summary: "Stops listening to globs.",
      since: "2.0.0",
      run: punsubscribe
    },
    {
      name: "publish",
      arity: 3,
      flags: ["pubsub", "loading", "stale", "fast"],
      reach: "own",
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
          reach: "own",
          syntax: "[<pattern>]",
          summary: "Returns the channels that somebody listens to.",
          since: "2.8.0",
          run: pubsubChannels
        },
        {
          name: "numsub",
          arity: -2,
          flags: ["pubsub", "loading", "stale"],
          reach: "own",
          syntax: "[<channel> ...]",
          summary: "Returns the number of listeners of channels.",
          since: "2.8.0",
          run: pubsubNumsub
        },
        {
          name: "numpat",
          arity: 2,
          flags: ["pubsub", "loading", "stale"],
          reach: "own",
          summary: "Returns the number of distinct globs listened to.",
          since: "2.8.0",
          run: pubsubNumpat
        }
      ]
    }
  ]
}
