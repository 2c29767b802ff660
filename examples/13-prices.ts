/**
 * Prices that two processes set, also both at once, with nothing behind the caches: of two writes at the same time one
 * is left, the same for both, and no price is ever read that is older than the last one that was acknowledged.
 */
import { Mimosa } from "mimosa-cache/promise"
import { answer, isSecond, namespace, startSecond } from "./two.ts"

const cache = new Mimosa({ namespace })
await cache.ready
const live = { ackMode: "live" } as const

if (isSecond) {
  const read = (key: string) => cache.get(key)
  const setAll = async (keys: string[], price: number) => {
    await Promise.all(keys.map((key) => cache.set(key, price, live)))
  }
  await answer({ read, setAll })
} else {
  const other = startSecond(import.meta.url)
  await cache.coherence.untilMembers(1)

  let stale = 0
  for (let price = 1; price <= 100; price++) {
    await cache.set("price:tea", price, live)
    if ((await other.ask("read", "price:tea")) !== price) stale++
  }
  console.log("100 prices set here, each read there at once; stale:", stale)

  const keys = Array.from({ length: 50 }, (_, n) => `price:${n}`)
  const theirs = other.ask("setAll", keys, 2)
  await Promise.all(keys.map((key) => cache.set(key, 1, live)))
  await theirs
  let agreed = 0
  for (const key of keys) if ((await cache.get(key)) === (await other.ask("read", key))) agreed++
  console.log("50 prices set by both at once; the same for both:  ", agreed)
  await other.end()
}
await cache.close()
