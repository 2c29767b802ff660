/**
 * A profile that two services hold: one changes it, and the other's next read is the new one. They share nothing but the
 * name of their namespace.
 */
import { Mimosa } from "mimosa-cache/promise"
import { answer, isSecond, namespace, startSecond } from "./two.ts"

const cache = new Mimosa({ namespace })
await cache.ready

if (isSecond) {
  // The web service: it reads profiles, and has no database of its own.
  const read = (key: string) => cache.get(key)
  const holds = (key: string) => cache.peek(key) !== undefined
  await answer({ read, holds })
} else {
  // The profile service: it writes them.
  const web = startSecond(import.meta.url)
  await cache.coherence.untilMembers(1)
  const live = { ackMode: "live" } as const // come back when the other has applied it

  await cache.set("profile:42", { name: "Ada", city: "London" }, live)
  console.log("the web service reads ", await web.ask("read", "profile:42"))
  console.log("it holds a copy:      ", await web.ask("holds", "profile:42"))

  await cache.set("profile:42", { name: "Ada", city: "Paris" }, live)
  console.log("after a change it does:", await web.ask("holds", "profile:42"))
  console.log("and its next read is  ", await web.ask("read", "profile:42"))

  await cache.set("profile:43", { name: "Joe" }, { local: true })
  console.log("what is local stays:  ", await web.ask("read", "profile:43"))
  await web.end()
}
await cache.close()
