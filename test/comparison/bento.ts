/** BentoCache, set up as its documentation advises for several instances. [1] bentocache.dev, docs/multi-tier */
import { BentoCache, bentostore } from "bentocache"
import { memoryDriver } from "bentocache/drivers/memory"
import { redisBusDriver, redisDriver } from "bentocache/drivers/redis"

export type Bento = ReturnType<typeof bento>

/** One instance: memory, Redis behind it unless told otherwise, and the bus over Redis. `name` is that of its connections. */
export const bento = (port: number, name: string, options: { readonly hasL2?: boolean } = {}) => {
  const connection = { host: "127.0.0.1", port, connectionName: name }
  const store = bentostore().useL1Layer(memoryDriver({ maxSize: "10mb" }))
  if (options.hasL2 !== false) store.useL2Layer(redisDriver({ connection }))
  return new BentoCache({
    default: "cache",
    ttl: "1h",
    stores: { cache: store.useBus(redisBusDriver({ connection })) }
  })
}

/** How many messages of the bus an instance has received. */
export const received = (cache: Bento): { readonly keys: string[] } => {
  const keys: string[] = []
  cache.on("bus:message:received", ({ message }) => void keys.push(...message.keys))
  return { keys }
}
